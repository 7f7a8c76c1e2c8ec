//! A document as something to follow: its commands and files, taken from the code blocks themselves.
//!
//! A block of `sh` is commands. Any other block is the content of a file, if the paragraph before it ends in a colon and
//! names an absolute path last. All other blocks are for reading.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run these lines.
    Shell(String),
    /// Write this file.
    File(PathBuf, String),
}

/// A document of the repository.
#[derive(Debug)]
pub struct Guide {
    name: String,
    sections: BTreeMap<String, Vec<Step>>,
}

impl Guide {
    /// Reads a document, given by its path in the repository.
    pub fn read(name: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self { name: name.to_owned(), sections: parse(&text) })
    }

    /// The headings of the sections in which there is something to do.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// What is to be done by a section, the ones below it left out.
    pub fn steps(&self, section: &str) -> Result<&[Step]> {
        let steps = self.sections.get(section).map(Vec::as_slice);
        steps.with_context(|| {
            format!("{} has no section {section:?} in which there is something to do", self.name)
        })
    }
}

/// A fenced block that has begun.
struct Block {
    language: String,
    indent: usize,
    lines: Vec<String>,
    file: Option<PathBuf>,
}

fn parse(text: &str) -> BTreeMap<String, Vec<Step>> {
    let mut sections: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    let (mut section, mut paragraph, mut block): (String, String, Option<Block>) = Default::default();
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut block, fence) {
            (Some(open), None) => {
                let indent = open.indent.min(line.len() - line.trim_start().len());
                open.lines.push(line[indent..].to_owned());
            }
            (Some(_), Some(_)) => {
                let step = block.take().and_then(Block::step);
                sections.entry(section.clone()).or_default().extend(step);
                paragraph.clear();
            }
            (None, Some(language)) => {
                let indent = line.len() - line.trim_start().len();
                let (language, file) = (language.trim().to_owned(), announced(&paragraph));
                block = Some(Block { language, indent, lines: Vec::new(), file });
            }
            (None, None) if line.starts_with('#') => {
                line.trim_start_matches('#').trim().clone_into(&mut section);
                paragraph.clear();
            }
            (None, None) if line.trim().is_empty() => {
                // What is announced stands after an empty line.
                if !paragraph.ends_with(':') {
                    paragraph.clear();
                }
            }
            (None, None) => {
                paragraph.push(' ');
                paragraph.push_str(line.trim());
            }
        }
    }
    sections.retain(|_, steps| !steps.is_empty());
    sections
}

impl Block {
    fn step(self) -> Option<Step> {
        let text = self.lines.join("\n") + "\n";
        if self.language == "sh" { Some(Step::Shell(text)) } else { Some(Step::File(self.file?, text)) }
    }
}

/// The file that a paragraph says comes next.
fn announced(paragraph: &str) -> Option<PathBuf> {
    let named = paragraph.strip_suffix(':')?.split('`').skip(1).step_by(2).last()?;
    named.starts_with('/').then(|| named.into())
}

/// Lines for bash that run a block, and stop at the first failure. A command in the background, whose comment says with what words it
/// goes on, is waited for until it has printed them to `log`.
pub fn script(block: &str, log: &Path) -> Result<String> {
    let mut script = String::new();
    for line in block.lines() {
        let (command, comment) = line.split_once(" #").unwrap_or((line, ""));
        let Some(command) = command.trim_end().strip_suffix('&').filter(|rest| !rest.ends_with('&')) else {
            script.push_str(line);
            script.push('\n');
            continue;
        };
        let log = log.display();
        writeln!(script, "{command} >>{log} 2>&1 </dev/null &")?;
        if let Some(words) = comment.split('"').nth(1) {
            ensure!(!words.contains('\''), "{line}: words that bash would take for a quote");
            writeln!(
                script,
                "timeout 30 bash -c \"until grep -q '{words}' {log}; do read -t 0.1 <> <(:) || :; done\""
            )?;
        }
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_files_are_found_in_their_sections() {
        let text = "# A\n\n```sh\nfirst\n```\n\n1. As this:\n\n   ```sh\n   second \\\n       more\n   ```\n\n## B\n\nWrite \
                    `x` to\n`/etc/x`:\n\n```json\n{}\n```\n\nIt prints `/etc/y`.\n\n```\nout\n```\n\n## C\n\n```console\n$ no\n```\n";
        let sections = parse(text);
        assert_eq!(sections.keys().collect::<Vec<_>>(), ["A", "B"]);
        let shell = |text: &str| Step::Shell(text.to_owned());
        assert_eq!(sections["A"], [shell("first\n"), shell("second \\\n    more\n")]);
        assert_eq!(sections["B"], [Step::File("/etc/x".into(), "{}\n".to_owned())]);
    }

    #[test]
    fn what_goes_on_in_the_background_is_waited_for() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let block = "false && echo no || (sleep 0.2; echo it is ready; sleep 9) &   # goes on with \"is ready\"\ngrep ready LOG\n";
        let script = script(&block.replace("LOG", &log.display().to_string()), &log)?;
        let output = std::process::Command::new("bash").args(["-euc", &script]).output()?;
        assert!(output.status.success() && output.stdout == b"it is ready\n", "{script}: {output:?}");
        Ok(())
    }
}
