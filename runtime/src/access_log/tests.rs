use std::fs;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

fn line(octets: &[u8]) -> String {
    let mut text = String::new();
    escape(&mut text, octets);
    text
}

#[test]
fn a_line_is_in_the_combined_format() {
    let line = Line {
        at: UNIX_EPOCH + Duration::from_secs(784_111_777),
        peer: [192, 168, 123, 1].into(),
        rest: "\"GET / HTTP/1.1\" 200 8 \"-\" \"curl/8\"\n".to_owned(),
    };
    let mut text = Vec::new();
    line.append_to(&mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "192.168.123.1 - - [06/Nov/1994:08:49:37 +0000] \"GET / HTTP/1.1\" 200 8 \"-\" \"curl/8\"\n"
    );
}

#[test]
fn hostile_octets_end_neither_field_nor_line() {
    assert_eq!(
        line(b"a\" 200 0 \"\r\n10.0.0.1 - - \\ \x1b[2J\xff"),
        "a\\x22 200 0 \\x22\\x0D\\x0A10.0.0.1 - - \\x5C \\x1B[2J\\xFF"
    );
    let long = line(&[b'\n'; 9000]);
    assert_eq!(long.len(), FIELD_MAX + 3);
    assert!(long.ends_with("\\x0A..."));
}

proptest! {
    #[test]
    fn no_octets_make_a_control_or_a_quote(octets in prop::collection::vec(any::<u8>(), 0..3000)) {
        let text = line(&octets);
        prop_assert!(text.bytes().all(|octet| (0x20..0x7f).contains(&octet) && octet != b'"'));
        prop_assert!(text.len() <= FIELD_MAX + 3);
    }
}

/// A writer that waits until it is let go.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn one() -> Line {
    Line {
        at: UNIX_EPOCH,
        peer: [192, 0, 2, 1].into(),
        rest: "\"-\" 400 0 \"-\" \"-\"\n".to_owned(),
    }
}

#[test]
fn when_nobody_takes_lines_they_are_lost_and_counted_and_nobody_waits() {
    let (release, held) = bounded(0);
    let opened = Opened {
        to: Box::new(Stuck(held)),
        path: "stuck".into(),
    };
    let writer = opened.start().unwrap();
    let queue = writer.queue();
    let lines = 10 * LINES_MAX as u64;
    for _ in 0..lines {
        queue.put(one()); // would never return if it waited
    }
    let (written, lost) = queue.counts();
    assert_eq!(written, 0);
    assert!(lost > lines / 2, "{lost}");
    drop(release);
    drop(writer);
    let (written, lost) = queue.counts();
    assert_eq!(written + lost, lines);
}

#[test]
fn a_file_is_appended_to_and_a_pipe_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(&path, "before\n").unwrap();
    let writer = open(&path).unwrap().start().unwrap();
    let queue = writer.queue();
    queue.put(one());
    drop(writer);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "before\n192.0.2.1 - - [01/Jan/1970:00:00:00 +0000] \"-\" 400 0 \"-\" \"-\"\n"
    );
    assert_eq!(queue.counts(), (1, 0));
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = open(&pipe).unwrap_err().to_string();
    assert!(refused.ends_with("this is a pipe or a socket; name a file, or - for standard output"));
}
