//! The client's library, as it presents itself in ApiVersions.

/// The longest name or version that is kept.
const LONGEST: usize = 64;
const UNKNOWN: &str = "unknown";

/// Name and version of a client's library: short, and of harmless letters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Software {
    pub name: Box<str>,
    pub version: Box<str>,
}

impl Software {
    /// What the client says, if it is what the protocol allows, else `unknown`.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: legal(name).into(), version: legal(version).into() }
    }
}

impl Default for Software {
    fn default() -> Self {
        Self::new("", "")
    }
}

fn legal(text: &str) -> &str {
    let ends = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let legal = text.len() <= LONGEST
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        && ends(text.bytes().next())
        && ends(text.bytes().next_back());
    if legal { text } else { UNKNOWN }
}
