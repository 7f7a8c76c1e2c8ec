//! What is fed with arbitrary bytes, and what must be true whatever they are. Each function takes one input and
//! panics if something is wrong. `fuzz/` runs them under libFuzzer, `tests/fuzz.rs` for a bounded time without it.

mod admin_http;
mod cni;
mod journal;
mod keys;
mod melange_http;
mod node_http;
mod platform_http;
mod records;
mod reply;

pub use admin_http::admin_http;
pub use cni::cni;
pub use journal::journal;
pub use keys::keys;
pub use melange_http::melange_http;
pub use node_http::node_http;
pub use platform_http::platform_http;
pub use records::records;

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("admin_http", admin_http),
    ("cni", cni),
    ("journal", journal),
    ("keys", keys),
    ("node_http", node_http),
    ("records", records),
    ("melange_http", melange_http),
    ("platform_http", platform_http),
];

/// The text before the first empty line, and what is behind it.
fn split(data: &[u8]) -> (std::borrow::Cow<'_, str>, &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    (String::from_utf8_lossy(head), body)
}
