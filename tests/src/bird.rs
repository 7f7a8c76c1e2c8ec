//! A real BIRD, with the configuration that `manifests/routing` has.

use crate::machine::Machine;
use crate::process::Process;
use crate::tools::find;
use anyhow::Result;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// The configuration that all nodes have in common.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/routing/bird.conf");

/// A BIRD in a machine.
#[derive(Debug)]
pub struct Bird {
    dir: PathBuf,
    process: Option<Process>,
}

impl Bird {
    /// Starts one. The machine has the first of these pairs of addresses, and speaks to all others.
    pub fn start(machine: &Machine, own: &(String, String), others: &[(String, String)]) -> Result<Self> {
        let dir = machine.dir().join("bird");
        fs::create_dir_all(&dir)?;
        fs::copy(CONFIG, dir.join("bird.conf"))?;
        let mut node = format!("router id {};\n", own.0);
        for (number, (v4, v6)) in others.iter().enumerate() {
            writeln!(node, "protocol bgp n{number}v4 from node4 {{ neighbor {v4} as 64512; }}")?;
            writeln!(node, "protocol bgp n{number}v6 from node6 {{ neighbor {v6} as 64512; }}")?;
        }
        fs::write(dir.join("node.conf"), node)?;
        let mut bird = Self { dir, process: None };
        bird.run(machine)?;
        Ok(bird)
    }

    /// Starts it again.
    pub fn run(&mut self, machine: &Machine) -> Result<()> {
        let file = |name: &str| self.dir.join(name);
        let mut command = machine.place().command(find("bird", "bird2")?);
        command.arg("-f").arg("-c").arg(file("bird.conf")).arg("-s").arg(file("bird.ctl"));
        self.process = Some(Process::start("bird", machine.place(), &mut command, &file("log"))?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }
}
