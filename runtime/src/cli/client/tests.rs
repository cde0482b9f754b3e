use super::*;

fn client() -> Client {
    Client::new(Instant::now())
}

/// Answers every waiting command by its own text.
fn echo(client: &mut Client) -> Vec<String> {
    let mut commands = Vec::new();
    while let Some(command) = client.next_command() {
        client.reply(&Reply {
            quit: command == "quit",
            ..Reply::done(format!("<{command}>\n"))
        });
        commands.push(command);
    }
    commands
}

fn shown(client: &mut Client) -> Vec<u8> {
    let out = client.output().to_vec();
    client.sent(out.len());
    out
}

#[test]
fn a_client_that_sends_a_line_gets_plain_text() {
    let mut client = client();
    client.receive(b"show version\nshow thr");
    assert_eq!(echo(&mut client), ["show version"]);
    client.receive(b"eads\r\n");
    assert_eq!(echo(&mut client), ["show threads"]);
    assert_eq!(shown(&mut client), b"<show version>\n<show threads>\n");
    client.end_of_input();
    assert!(client.is_over());
}

#[test]
fn the_last_line_needs_no_end() {
    let mut client = client();
    client.receive(b"show version");
    client.end_of_input();
    assert_eq!(echo(&mut client), ["show version", "quit"]);
    shown(&mut client);
    assert!(client.is_over());
}

#[test]
fn a_silent_client_is_asked_after_a_moment() {
    let now = Instant::now();
    let mut client = Client::new(now);
    client.tick(now);
    assert_eq!(client.output(), b"");
    client.tick(now + ASK_AFTER);
    assert_eq!(client.output(), NEGOTIATION);
    assert_eq!(client.deadline(), None);
}

/// What vppctl sends for `vppctl -s SOCK show version`, by its source: its terminal's type in
/// answer to ours, then the command with the NUL that ends its string, then `quit`.
#[test]
fn vppctl_with_a_command_gets_its_answer_and_a_nul() {
    let now = Instant::now();
    let mut client = Client::new(now);
    client.tick(now + ASK_AFTER);
    shown(&mut client);
    client.receive(b"\xff\xfa\x18\x00vppctl\xff\xf0");
    client.receive(b"show version\n\0");
    assert_eq!(echo(&mut client), ["show version"]);
    assert_eq!(shown(&mut client), b"<show version>\n\0");
    client.receive(b"quit\n");
    assert_eq!(echo(&mut client), ["quit"]);
    assert_eq!(shown(&mut client), b"<quit>\n\0");
    assert!(client.is_over());
}

/// The same at a terminal: type and window, then single keys.
#[test]
fn a_terminal_gets_prompt_and_echo() {
    let now = Instant::now();
    let mut client = Client::new(now);
    client.tick(now + ASK_AFTER);
    shown(&mut client);
    client.receive(b"\xff\xfa\x18\x00xterm-256color\xff\xf0");
    client.receive(b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0");
    let banner = shown(&mut client);
    assert!(banner.ends_with(b"vpp# "));
    client.receive(b"show version\n");
    assert_eq!(echo(&mut client), ["show version"]);
    assert_eq!(
        shown(&mut client),
        b"show version\r\n<show version>\r\nvpp# "
    );
    client.receive(b"\x04");
    assert_eq!(echo(&mut client), ["quit"]);
}

/// The octets of a real client, see `tests/telnet/README.md`; VPP's own is not available here, so
/// it is tested after its source (above).
#[test]
fn a_recorded_telnet_is_understood_however_its_octets_arrive() {
    let recorded = include_bytes!("../../../tests/telnet/inetutils-telnet-2.4");
    for size in [1, 7, recorded.len()] {
        let now = Instant::now();
        let mut client = Client::new(now);
        client.tick(now + ASK_AFTER);
        shown(&mut client);
        let mut commands = Vec::new();
        for piece in recorded.chunks(size) {
            client.receive(piece);
            commands.extend(echo(&mut client));
        }
        assert_eq!(commands, ["show version", "sh int address", "quit"]);
        // Who types ahead sees echo and answers mixed.
        if size == 1 {
            let text = String::from_utf8(shown(&mut client)).unwrap();
            let expected = format!(
                "{BANNER}vpp# show version\r\n<show version>\r\nvpp# sh int address\r\n\
                 <sh int address>\r\nvpp# quit\r\n<quit>\r\n"
            );
            assert_eq!(text, expected);
        }
        shown(&mut client);
        assert!(client.is_over());
    }
}

#[test]
fn our_own_client_is_told_the_outcome() {
    let mut client = client();
    client.receive(b"\xff\xfa\x18\x00dataplane-ctl\xff\xf0nonsense\n");
    assert_eq!(client.next_command().as_deref(), Some("nonsense"));
    client.reply(&Reply::failed("no such command"));
    assert_eq!(shown(&mut client), b"no such command\n\x001\n");
}

#[test]
fn an_endless_line_ends_the_connection() {
    let mut client = client();
    client.receive(&vec![b'x'; LINE_MAX + 1]);
    assert_eq!(client.next_command(), None);
    shown(&mut client);
    assert!(client.is_over());
}

#[test]
fn a_client_that_floods_is_not_read_and_one_that_does_not_read_is_not_answered() {
    let mut client = client();
    client.receive("x\n".repeat(WAITING_MAX).as_bytes());
    assert!(!client.wants_input());
    client.next_command();
    client.reply(&Reply::done("y".repeat(UNREAD_MAX)));
    assert!(client.wants_input() && !client.has_command());
}
