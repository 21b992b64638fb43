//! The sky search, from `starling submit --kernel seti` to its result file: real processes, two workers of different
//! accounts, and the same bytes however the table was cut and whoever computed them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use seti::{Recipe, Seti, read_result};
use std::fs;
use std::path::PathBuf;
use tests::grid::{Coordinator, Profile, Worker, program};

/// A generated unit that is searched in a second, with a signal of every kind.
const SEED: u64 = 2;
const SAMPLES: usize = 1 << 16;

/// The researcher's command in a folder of its own.
struct Researcher {
    folder: tempfile::TempDir,
}

impl Researcher {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::TempDir::new()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How a call ended: exit code, standard output, standard error.
    async fn call(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let mut command = tokio::process::Command::new(program(Profile::Same, "starling"));
        command.current_dir(self.folder.path()).arg("--profile").arg(self.path("profile.json"));
        let output = command.args(arguments).output().await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code(), text(output.stdout), text(output.stderr)))
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let (code, said, erred) = self.call(arguments).await?;
        ensure!(code == Some(0), "starling {arguments:?}: {code:?}\n{said}\n{erred}");
        Ok(said)
    }

    /// The last object that a call answers.
    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.run(&[&["--output", "json"], arguments].concat()).await?;
        Ok(serde_json::from_str(said.lines().last().context("no answer")?)?)
    }

    /// Writes a generated unit as `sky.sah`; its bytes.
    async fn generate(&self, samples: usize) -> Result<Vec<u8>> {
        let (seed, samples) = (SEED.to_string(), samples.to_string());
        self.run(&["seti", "generate", "sky.sah", "--seed", &seed, "--samples", &samples]).await?;
        Ok(fs::read(self.path("sky.sah"))?)
    }
}

fn natively(unit: &[u8]) -> Result<Vec<u8>> {
    let run = starling_sdk::native::run::<Seti>("{}", &[unit]);
    Ok(run.map_err(|error| anyhow::anyhow!("{error}"))?.output)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_the_same_for_1_7_and_100_cuts() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let _workers = ["ada", "grace"]
        .map(|name| Worker::start(Profile::Same, &coordinator.join, name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let researcher = Researcher::new()?;
    researcher
        .run(&["login", &coordinator.join.to_string(), "--token", &coordinator.token])
        .await?;
    let unit = researcher.generate(SAMPLES).await?;
    let expected = natively(&unit)?;
    for (job, cuts) in [(1, 1), (2, 7), (3, 100u64)] {
        let set = format!("cut.0.per_unit={}", seti::SHARES.div_ceil(cuts));
        let to = format!("result-{cuts}.sah");
        let submit =
            ["submit", "--kernel", "seti", "sky.sah", "--set", &set, "--set", "merge.fan_in=16"];
        let told = researcher.json(&[&submit[..], &["--to", &to]].concat()).await?;
        ensure!(told["result"].as_str() == Some(&to), "{told}");
        let status = coordinator.job(job).await?;
        ensure!(cuts <= status.units && status.failed == 0, "{status:?}");
        ensure!(2 * status.units <= status.copies, "{status:?}");
        let result = fs::read(researcher.path(&to))?;
        ensure!(result == expected, "{cuts} cuts give other bytes than one native run");
    }
    researcher.run(&["verify", "j3"]).await?;
    let records = read_result(&expected)?;
    for plant in Recipe::showcase(SEED, SAMPLES).plants {
        ensure!(records.iter().any(|record| plant.shows_as(record)), "{plant:?} is not found");
    }
    // What is there already is not overwritten.
    let (code, _, erred) =
        researcher.call(&["submit", "--kernel", "seti", "sky.sah", "--to", "result-7.sah"]).await?;
    ensure!(code == Some(2) && erred.contains("exists already"), "{code:?} {erred}");
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_and_taken_up_again_gives_the_same_bytes() -> Result<()> {
    let researcher = Researcher::new()?;
    researcher.generate(2 * SAMPLES).await?;
    let told = researcher.json(&["kernel", "check", "seti", "--input", "sky.sah"]).await?;
    ensure!(told["cut"].as_str() == Some("agrees"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_compared_and_drawn() -> Result<()> {
    let researcher = Researcher::new()?;
    let unit = researcher.generate(SAMPLES).await?;
    let result = String::from_utf8(natively(&unit)?)?;
    fs::write(researcher.path("a.sah"), &result)?;
    let told = researcher.json(&["seti", "compare", "a.sah", "a.sah"]).await?;
    ensure!(told["similarity"] == "strongly similar", "{told}");
    // The power of one signal is 5 % off: of many, all others still have their like.
    let from = result.find("<peak_power>").context("a signal")? + "<peak_power>".len();
    let to = from + result[from..].find('<').context("a closed field")?;
    let power: f64 = result[from..to].parse()?;
    fs::write(
        researcher.path("b.sah"),
        format!("{}{}{}", &result[..from], power * 1.05, &result[to..]),
    )?;
    let (code, said, erred) = researcher.call(&["seti", "compare", "a.sah", "b.sah"]).await?;
    ensure!(code == Some(5) && said.starts_with("weakly similar"), "{code:?} {said} {erred}");
    ensure!(said.contains("peak_power: ") && said.contains("TOO MUCH"), "{said}");
    fs::write(researcher.path("c.sah"), "<result>\n</result>")?;
    let (code, said, _) = researcher.call(&["seti", "compare", "a.sah", "c.sah"]).await?;
    ensure!(code == Some(5) && said.starts_with("different"), "{code:?} {said}");
    for (text, words) in [("<a></a>", "no <result>"), ("<result><spike></triplet>", "malformed")] {
        fs::write(researcher.path("c.sah"), text)?;
        let (code, _, erred) = researcher.call(&["seti", "compare", "a.sah", "c.sah"]).await?;
        ensure!(code == Some(1) && erred.contains(words), "{text}: {code:?} {erred}");
    }

    let told = researcher.json(&["seti", "plots", "sky.sah", "a.sah", "--to", "pictures"]).await?;
    let pictures = told["pictures"].as_array().context("pictures")?;
    ensure!(
        pictures.len() as u64 == 1 + told["signals"].as_u64().context("signals")?.min(200),
        "{told}"
    );
    let page = fs::read_to_string(researcher.path("pictures/index.html"))?;
    for picture in pictures {
        let path = picture.as_str().context("a path")?;
        let svg = fs::read_to_string(researcher.path(path))?;
        ensure!(svg.starts_with("<svg") && svg.contains("</svg>"), "{path}");
        // A map has circles, a waterfall rectangles beyond its ground.
        ensure!(svg.contains("<circle") || 20 < svg.matches("<rect").count(), "{path} is empty");
        ensure!(page.contains(path.trim_start_matches("pictures/")), "{path} is not on the page");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_generated_is_refused_with_the_field() -> Result<()> {
    let researcher = Researcher::new()?;
    for (arguments, words) in [
        (&["--samples", "1000"][..], "nsamples"),
        (&["--chirp-limits", "1"], "--chirp-limits"),
        (&["--chirp-limits", "1,nan"], "chirp_limit"),
        (&["--max-signals", "0"], "max_signals"),
        (&["--plant", "{}"], "--plant"),
        (&["--plant", r#"{"tone":{"amplitude":1}}"#], "--plant"),
    ] {
        let call = [&["seti", "generate", "x.sah"], arguments].concat();
        let (code, _, erred) = researcher.call(&call).await?;
        ensure!(code == Some(2) && erred.contains(words), "{arguments:?}: {code:?} {erred}");
        ensure!(!researcher.path("x.sah").exists(), "{arguments:?}");
    }
    Ok(())
}
