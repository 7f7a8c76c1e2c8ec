//! Links in the Markdown files lead somewhere: to a file of the repository, and to a heading in it.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

#[test]
fn links_lead_somewhere() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
    let files = markdown_files(root)?;
    ensure!(files.contains(&root.join("CHANGELOG.md")), "no Markdown found below {}", root.display());
    let mut dead = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file)?;
        for link in links(&text) {
            if let Err(error) = follow(root, file, &link) {
                dead.push(format!("{}: {link}: {error:#}", file.strip_prefix(root)?.display()));
            }
        }
    }
    ensure!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    Ok(())
}

fn markdown_files(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.append(&mut markdown_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.insert(path);
        }
    }
    Ok(found)
}

/// Targets of inline links and images, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in outside_of_fences(text) {
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in plain.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            found.push(target.to_owned());
        }
    }
    found
}

fn outside_of_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn follow(root: &Path, from: &Path, link: &str) -> Result<()> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(());
    }
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let target = if path.is_empty() { from.to_owned() } else { from.with_file_name("").join(path) };
    let target = without_dots(&target);
    ensure!(target.starts_with(root), "leads out of the repository");
    ensure!(target.exists(), "there is no such file");
    let Some(heading) = heading else { return Ok(()) };
    let text = fs::read_to_string(&target).context("a link to a heading leads to a text")?;
    ensure!(anchors(&text).contains(heading), "there is no such heading");
    Ok(())
}

fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Names of the headings as forges make them: lower case, blanks to dashes, other punctuation dropped.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = outside_of_fences(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Every test that `docs/reliability.md` names is one of the end-to-end tests, and every fault story is named there.
#[test]
fn named_tests_exist() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(tests.join("../docs/reliability.md"))?;
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let cells = rows.filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    let named: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    ensure!(named.len() > 20, "few tests are named: {named:?}");
    let mut known = BTreeSet::new();
    for file in fs::read_dir(tests.join("e2e"))? {
        let text = fs::read_to_string(file?.path())?;
        let functions = text.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
        known.extend(functions.map(str::to_owned));
    }
    let missing: Vec<_> = named.difference(&known).collect();
    ensure!(missing.is_empty(), "tests that do not exist: {missing:?}");
    let told: BTreeSet<String> =
        coil_tests::faults::STORIES.iter().map(|story| story.name.to_owned()).collect();
    let unnamed: Vec<_> = told.difference(&named).collect();
    ensure!(unnamed.is_empty(), "stories that the page does not name: {unnamed:?}");
    let untold: Vec<_> = told.difference(&known).collect();
    ensure!(untold.is_empty(), "stories without a test: {untold:?}");
    Ok(())
}

#[test]
fn dead_links_are_seen() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("b.md"), "# The `first` part, and more\n```\n# not a heading\n```\n")?;
    let from = dir.path().join("a.md");
    let text = "[x](b.md) `[no](link)`\n```\n[no](link)\n```\n![i](https://e.org/i.png) [y](c.md \"title\")";
    assert_eq!(links(text), ["b.md", "https://e.org/i.png", "c.md"]);
    for alive in ["b.md", "./b.md", "b.md#the-first-part-and-more", "https://e.org"] {
        follow(dir.path(), &from, alive).with_context(|| alive.to_owned())?;
    }
    for dead in ["c.md", "b.md#not-a-heading", "../b.md"] {
        assert!(follow(dir.path(), &from, dead).is_err(), "{dead}");
    }
    Ok(())
}
