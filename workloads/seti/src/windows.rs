//! The windows in which triplets and pulses are searched: a beam's width each, half over each other.

use crate::derived::Derived;
use crate::header::Setup;
use crate::number::whole;

/// The windows over the spectra of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Spectra in each.
    pub(crate) spectra: usize,
    /// The first spectrum of each.
    pub(crate) starts: Vec<usize>,
}

impl Windows {
    pub(crate) fn new(setup: &Setup, derived: &Derived, length: usize) -> Self {
        let all = setup.nsamples / length;
        let beams = f64::from(derived.beam_rate * derived.duration_single);
        let per_beam = if beams < setup.pulse_beams {
            all as f64
        } else {
            f64::from(crate::number::count(all) / derived.duration_single)
                / f64::from(derived.beam_rate)
        };
        let spectra = whole(per_beam * setup.pulse_beams + 0.5).clamp(1, all);
        let overlap = whole(per_beam * setup.pot_overlap_factor + 0.5);
        let advance = spectra.saturating_sub(overlap).max(1);
        let mut starts: Vec<usize> = (0..)
            .map(|window| window * advance)
            .take_while(|start| start + spectra < all)
            .collect();
        starts.push(all - spectra);
        Self { spectra, starts }
    }

    /// Whether triplets are searched in such windows.
    pub(crate) fn triplets(&self, setup: &Setup, derived: &Derived) -> bool {
        (derived.triplet_min..=setup.triplet_max).contains(&self.spectra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::tests::reference_unit;

    #[test]
    fn windows_are_those_of_the_reference_unit() {
        let Some(unit_file) = reference_unit() else { return };
        let setup = Header::read(&unit_file).unwrap().setup;
        let derived = Derived::new(&setup);
        let sizes = [16925, 8463, 4231, 2116, 1058, 529, 264, 132, 66, 33, 17];
        let overlaps = [8463, 4231, 2116, 1058, 529, 264, 132, 66, 33, 17, 8];
        for (log, (spectra, overlap)) in sizes.into_iter().zip(overlaps).enumerate() {
            let length = 8 << log;
            let windows = Windows::new(&setup, &derived, length);
            assert_eq!(
                (windows.spectra, windows.spectra - windows.starts[1]),
                (spectra, overlap),
                "{length}"
            );
            assert_eq!(windows.starts.last(), Some(&(setup.nsamples / length - spectra)));
            assert_eq!(windows.triplets(&setup, &derived), length <= 4096);
        }
    }
}
