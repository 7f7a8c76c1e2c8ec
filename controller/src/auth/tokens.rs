//! Bearer tokens. A token is 256 random bits. The file has its SHA-256 only: nobody can find a token by its hash, as
//! there are too many to try; a slow or salted hash is for passwords, which people choose.

use super::role::{BadRole, Role};
use common::hex;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

type Hash = [u8; 32];

/// The tokens that are known.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Entry>);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(deserialize_with = "role")]
    role: Role,
    #[serde(deserialize_with = "hash")]
    sha256: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// Why a file of tokens can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It can't be read or written.
    #[error("can't {what} the file of tokens {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever may write to it could make tokens.
    #[error("the file of tokens {0} may be written to by everybody: chmod o-w")]
    Writable(PathBuf),
    /// It is not what it should be.
    #[error("the file of tokens {path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: Malformed,
    },
    /// A name stands for one token.
    #[error("the file of tokens {path} has a token {name:?} already")]
    Exists {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A name is not fit for a log.
    #[error("{0:?} is no name of a token: {NAME}")]
    BadName(String),
    /// There is no randomness.
    #[error("can't make a token")]
    Random(#[source] io::Error),
}

/// What is wrong in a file of tokens. Its text never shows what the file has.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not TOML, or not the fields.
    #[error("line {line}: {message}")]
    Toml {
        /// Where.
        line: usize,
        /// Why.
        message: String,
    },
    /// A name stands for one token.
    #[error("two tokens have the name {0:?}")]
    Twice(String),
}

impl Tokens {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        let failed = |source| TokensError::Io { what: "read", path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o002 != 0 {
            return Err(TokensError::Writable(path.to_owned()));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text).map_err(|source| TokensError::Malformed { path: path.to_owned(), source })
    }

    /// Reads what a file says.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let file: File = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            Malformed::Toml { line, message: error.message().to_owned() }
        })?;
        let mut names = BTreeSet::new();
        match file.token.iter().find(|entry| !names.insert(&entry.name)) {
            Some(entry) => Err(Malformed::Twice(entry.name.clone())),
            None => Ok(Self(file.token)),
        }
    }

    /// Name and role of a token. The time that this takes tells nothing about the tokens that are known.
    pub fn find(&self, token: &str) -> Option<(&str, &Role)> {
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (number, entry) in (0_u64..).zip(&self.0) {
            let same = entry.sha256.ct_eq(&hash);
            place.conditional_assign(&number, same);
            found |= same;
        }
        let entry = bool::from(found).then(|| usize::try_from(place).ok()).flatten()?;
        self.0.get(entry).map(|entry| (entry.name.as_str(), &entry.role))
    }
}

/// A token that was just made: the only moment at which it is known.
pub struct NewToken {
    /// What a caller sends.
    pub token: String,
    name: String,
    role: Role,
}

impl NewToken {
    /// Makes a token.
    pub fn make(name: &str, role: Role) -> Result<Self, TokensError> {
        if !is_name(name) {
            return Err(TokensError::BadName(name.to_owned()));
        }
        let mut bytes: Hash = [0; 32];
        let random = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        random.map_err(TokensError::Random)?;
        Ok(Self { token: format!("coil_{}", hex::encode(&bytes)), name: name.to_owned(), role })
    }

    /// What a file says of it.
    pub fn entry(&self) -> String {
        let hash: Hash = Sha256::digest(self.token.as_bytes()).into();
        let role = serde_json::Value::from(self.role.to_string());
        format!("[[token]]\nname = \"{}\"\nrole = {role}\nsha256 = \"{}\"\n", self.name, hex::encode(&hash))
    }

    /// Adds it to a file, which is made, for its user alone, if it does not exist.
    pub fn add_to(&self, path: &Path) -> Result<(), TokensError> {
        if path.exists() {
            let known = Tokens::load(path)?;
            if known.0.iter().any(|entry| entry.name == self.name) {
                return Err(TokensError::Exists { path: path.to_owned(), name: self.name.clone() });
            }
        }
        let failed = |source| TokensError::Io { what: "write to", path: path.to_owned(), source };
        let mut options = std::fs::File::options();
        let mut file = options.append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        // One write, so that a controller never reads half of an entry.
        file.write_all(format!("\n{}", self.entry()).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)
    }
}

const NAME: &str = "1 to 64 letters, digits, '-', '_', '.', '@'";

fn is_name(text: &str) -> bool {
    let fit = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(fit)
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_name(&text) { Ok(text) } else { Err(serde::de::Error::custom(format!("name must be {NAME}"))) }
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    String::deserialize(from)?.parse().map_err(|error: BadRole| serde::de::Error::custom(error))
}

fn hash<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
    let text = String::deserialize(from)?;
    let malformed = || serde::de::Error::custom("sha256 must be 64 digits and letters a to f");
    hex::decode(&text).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn new(name: &str, role: &str) -> NewToken {
        NewToken::make(name, role.parse().expect("role")).expect("made")
    }

    #[test]
    fn each_token_is_found_by_itself_alone() {
        let made: Vec<_> = (0..5).map(|n| new(&format!("t{n}"), &format!("namespace:n{n}"))).collect();
        let file: String = made.iter().map(NewToken::entry).collect();
        let tokens = Tokens::parse(&file).expect("tokens");
        for (n, new) in made.iter().enumerate() {
            let (name, role) = tokens.find(&new.token).expect("known");
            assert_eq!((name, role.to_string()), (format!("t{n}").as_str(), format!("namespace:n{n}")));
            assert_eq!(new.token.len(), 5 + 64);
            assert!(!file.contains(&new.token[5..]), "the file has a token");
        }
        for other in ["", "coil_", &made[0].token[..60], &new("t0", "admin").token] {
            assert_eq!(tokens.find(other), None, "{other}");
        }
        assert_eq!(Tokens::default().find(&made[0].token), None);
    }

    #[test]
    fn files_that_are_wrong_say_where() {
        let good = new("a", "viewer").entry();
        for (text, reason) in [
            ("token = 1".to_owned(), "line 1: invalid type"),
            (format!("{good}\n[[token]]\nname = \"b\"\nrole = \"viewer\"\n"), "missing field `sha256`"),
            (good.replace("viewer", "root"), "line 3: \"root\" is no role"),
            (good.replace("name = \"a\"", "name = \"a b\""), "line 2: name must be"),
            (good.replace("sha256 = \"", "sha256 = \"x"), "line 4: sha256 must be 64 digits"),
            (format!("{good}expires = 1\n"), "unknown field `expires`"),
            (format!("{good}{good}"), "two tokens have the name \"a\""),
            ("[[token]".to_owned(), "line 1"),
        ] {
            let error = Tokens::parse(&text).expect_err(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn a_file_grows() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("tokens.toml");
        let (a, b) = (new("a", "admin"), new("b", "viewer"));
        a.add_to(&path).expect("added");
        b.add_to(&path).expect("added");
        let mode = std::fs::metadata(&path).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let tokens = Tokens::load(&path).expect("tokens");
        assert_eq!(tokens.find(&a.token), Some(("a", &Role::Admin)));
        assert_eq!(tokens.find(&b.token), Some(("b", &Role::Viewer)));
        assert!(matches!(new("a", "viewer").add_to(&path), Err(TokensError::Exists { .. })));
        assert!(matches!(NewToken::make("a b", Role::Admin), Err(TokensError::BadName(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o602)).expect("changed");
        assert!(matches!(Tokens::load(&path), Err(TokensError::Writable(_))));
        let missing = Tokens::load(&dir.path().join("none")).expect_err("missing").to_string();
        assert!(missing.contains("can't read the file of tokens"), "{missing}");
    }
}
