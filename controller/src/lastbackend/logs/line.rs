//! The lines of a container's log, as runtimes write them: time, stream, tag and a piece of output,
//! `2016-10-06T00:17:09.669794202Z stdout F text`. With the tag `P` the line of the output goes on in the next piece.

/// A line without an end is passed on at this length, in bytes.
const MAX_LINE: usize = 1 << 20;

/// Makes of the bytes of a log the output of its container.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Lines {
    /// Adds bytes of the log, and answers the output in the lines that they end.
    pub(super) fn output(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(bytes.len());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") || self.rest.len() > MAX_LINE {
                add(&mut output, &self.rest);
                self.rest.clear();
            }
        }
        output
    }

    /// The output in a line that has no end, after which nothing comes.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        add(&mut output, &std::mem::take(&mut self.rest));
        output
    }
}

fn add(output: &mut Vec<u8>, line: &[u8]) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = text.splitn(4, |byte| *byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(b"stdout" | b"stderr"), Some(tag), Some(piece)) => {
            output.extend_from_slice(piece);
            if tag.split(|byte| *byte == b':').next() != Some(b"P") {
                output.push(b'\n');
            }
        }
        // No runtime wrote it.
        _ => output.extend_from_slice(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2016-10-06T00:17:09.669794202Z stdout F one\n\
        2016-10-06T00:17:09.669794202Z stderr P tw\n\
        2016-10-06T00:17:09.669794202Z stderr F o  and\xff \n\
        2016-10-06T00:17:09.669794202Z stdout F \nodd\n";

    #[test]
    fn the_output_is_as_it_was_written() {
        let expected = b"one\ntwo  and\xff \n\nodd\n";
        for size in 1..LOG.len() {
            let mut lines = Lines::default();
            let mut output: Vec<u8> = LOG.chunks(size).flat_map(|bytes| lines.output(bytes)).collect();
            output.extend(lines.end());
            assert_eq!(output, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_hoarded() {
        let mut lines = Lines::default();
        let output = lines.output(&vec![b'x'; MAX_LINE + 1]);
        assert_eq!((output.len(), lines.rest.len()), (MAX_LINE + 1, 0));
        lines.output(b"t stdout F half");
        assert_eq!(lines.end(), b"half\n");
        assert_eq!(lines.end(), b"");
    }
}
