//! Where the time of a search goes: `cargo run --release -p seti --example phases -- UNIT [LIMIT...]` prints for each
//! FFT length what one spectrogram costs, and what all of them do.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use seti::{Header, Pair, Samples, Search, Table};
use std::time::Instant;

/// Drift rates to measure at, as multiples of the table's step: enough to even out what a busy machine does.
const CHIRPS: [i32; 4] = [1001, -2003, 3005, -4007];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let bytes = std::fs::read(args.next().ok_or("name a work unit")?)?;
    let limits: Vec<f64> = args.map(|limit| limit.parse()).collect::<Result<_, _>>()?;
    let mut header = Header::read(&bytes)?;
    if !limits.is_empty() {
        header = header.with_chirp_limits(&limits)?;
    }
    let samples = Samples::read(&bytes, &header.setup)?;
    let table = Table::new(&header.setup);
    let mut search = Search::with(header, samples, |table| 0..table.pairs.len());
    let mut measure = |pair: Pair| {
        search.pair(pair);
        let times = CHIRPS.map(|chirp| {
            let begin = Instant::now();
            search.pair(Pair { chirp, ..pair });
            begin.elapsed().as_secs_f64() * 1e3
        });
        times.into_iter().fold(f64::INFINITY, f64::min)
    };
    println!("length  spectra+triplets  +gaussians  +pulses (ms)   pairs  total (s)");
    let mut total = 0.0;
    for length in (3..=17).map(|log| 1u32 << log) {
        let of_length: Vec<&Pair> =
            table.pairs.iter().filter(|pair| pair.length == length).collect();
        let Some(first) = of_length.first() else { continue };
        let bare = Pair { gaussians: false, pulses: false, ..**first };
        let spectra = measure(bare);
        let gaussians = if first.gaussians {
            (measure(Pair { gaussians: true, ..bare }) - spectra).max(0.0)
        } else {
            0.0
        };
        let with_pulses = of_length.iter().filter(|pair| pair.pulses).count() as f64;
        let pulses = if 0.0 < with_pulses {
            (measure(Pair { pulses: true, ..bare }) - spectra).max(0.0)
        } else {
            0.0
        };
        let seconds = ((spectra + gaussians) * of_length.len() as f64 + pulses * with_pulses) / 1e3;
        total += seconds;
        println!(
            "{length:6} {spectra:12.2} {gaussians:14.2} {pulses:11.2} {:15} {seconds:9.1}",
            of_length.len()
        );
    }
    println!("all pairs: {total:.1} s");
    Ok(())
}
