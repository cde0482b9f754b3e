use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Greeting {
    Hello(String),
    Count(u8),
    Counts,
}

const NAME: Kind<String> = Kind {
    name: "<name>",
    what: "a name",
    parse: |word| Ok(word.to_owned()),
};

const NUMBER: Kind<u8> = Kind {
    name: "<n>",
    what: "a number",
    parse: |word| word.parse().map_err(|_| "not from 0 to 255".to_owned()),
};

const ENTRIES: &[Entry<Greeting>] = &[
    Entry {
        path: &["say", "hello"],
        usage: "<name> [loudly]",
        help: "greet somebody",
        parse: |cursor| {
            let name = cursor.value(&NAME)?;
            let loudly = cursor.keyword("loudly", "in capitals");
            Ok(Greeting::Hello(if loudly {
                name.to_uppercase()
            } else {
                name
            }))
        },
    },
    Entry {
        path: &["show", "count"],
        usage: "<n>",
        help: "count to n",
        parse: |cursor| Ok(Greeting::Count(cursor.value(&NUMBER)?)),
    },
    Entry {
        path: &["show", "count", "totals"],
        usage: "",
        help: "all counts",
        parse: |_| Ok(Greeting::Counts),
    },
    Entry {
        path: &["show", "counters"],
        usage: "",
        help: "counters",
        parse: |_| Ok(Greeting::Counts),
    },
];

fn parse(line: &str) -> Result<Greeting, SyntaxError> {
    let words = Word::split(line)?;
    Tree::new(ENTRIES)
        .parse(&words)
        .map(|parsed| parsed.command)
}

fn why(line: &str) -> (usize, String) {
    let error = parse(line).expect_err("refused");
    (error.column, error.to_string())
}

fn completions(line: &str) -> Vec<&'static str> {
    Tree::new(ENTRIES)
        .complete(line)
        .iter()
        .map(|item| item.text)
        .collect()
}

#[test]
fn a_word_of_the_path_may_be_abbreviated_while_it_is_the_only_one_to_begin_so() {
    assert_eq!(parse("sa h bob"), Ok(Greeting::Hello("bob".to_owned())));
    assert_eq!(
        parse("  say\thello bob loudly "),
        Ok(Greeting::Hello("BOB".to_owned()))
    );
    assert_eq!(
        why("s h"),
        (
            1,
            "expected say or show, found \"s\": several begin so".to_owned()
        )
    );
}

#[test]
fn a_whole_word_goes_before_a_longer_one_that_begins_with_it() {
    assert_eq!(parse("show count 7"), Ok(Greeting::Count(7)));
    assert_eq!(parse("show counte"), Ok(Greeting::Counts));
    assert_eq!(
        why("show coun 7"),
        (
            6,
            "expected count or counters, found \"coun\": several begin so".to_owned()
        )
    );
}

#[test]
fn a_longer_path_goes_before_the_parameters_of_a_shorter_one() {
    assert_eq!(parse("show count tot"), Ok(Greeting::Counts));
    assert_eq!(
        why("show count many"),
        (
            12,
            "expected totals or a number, found \"many\": not from 0 to 255".to_owned()
        )
    );
}

#[test]
fn keywords_after_the_path_are_whole_words() {
    let usage = "(usage: say hello <name> [loudly])";
    assert_eq!(
        why("say hello bob loud"),
        (
            15,
            format!("expected loudly or the end, found \"loud\" {usage}")
        )
    );
    assert_eq!(
        why("say hello bob loudly now"),
        (22, format!("expected the end, found \"now\" {usage}"))
    );
}

#[test]
fn a_line_that_ends_too_early_says_what_is_missing() {
    assert_eq!(why("say"), (5, "expected hello, found the end".to_owned()));
    assert_eq!(
        why("say hello"),
        (
            11,
            "expected a name, found the end (usage: say hello <name> [loudly])".to_owned()
        )
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(why("say hello \"äö ü\" x").0, 18);
}

#[test]
fn what_can_follow_is_completed() {
    assert_eq!(completions(""), ["say", "show"]);
    assert_eq!(completions("sh"), ["show"]);
    assert_eq!(completions("sh "), ["count", "counters"]);
    assert_eq!(completions("show count "), ["totals", "<n>"]);
    assert_eq!(completions("say hello "), ["<name>"]);
    assert_eq!(completions("say hello bob "), ["loudly"]);
    assert_eq!(completions("say hello bob lo"), ["loudly"]);
    assert_eq!(completions("say hello bob loudly "), [""; 0]);
    assert_eq!(completions("nonsense "), [""; 0]);
    assert_eq!(completions("s "), [""; 0]);
}

#[test]
fn help_lists_the_commands_that_begin_so() {
    let tree = Tree::new(ENTRIES);
    let line = "show count <n>".to_owned();
    assert_eq!(tree.help("sh count")[0], (line, "count to n"));
    assert_eq!(tree.help("sh").len(), 3);
    assert_eq!(tree.help("").len(), ENTRIES.len());
}

#[test]
fn two_tables_make_one_tree() {
    #[derive(Debug, PartialEq)]
    enum All {
        Greeting(Greeting),
        Quit,
    }
    const QUIT: &[Entry<()>] = &[Entry {
        path: &["quit"],
        usage: "",
        help: "leave",
        parse: |_| Ok(()),
    }];
    let tree = Tree::new(&[])
        .with(ENTRIES, All::Greeting)
        .with(QUIT, |()| All::Quit);
    let words = Word::split("q").expect("a word");
    assert_eq!(tree.parse(&words).expect("a command").command, All::Quit);
    let words = Word::split("sh counte").expect("words");
    assert_eq!(
        tree.parse(&words).expect("a command").command,
        All::Greeting(Greeting::Counts)
    );
}

#[test]
fn comments_end_a_line_and_quotes_hold_blanks() {
    let texts = |line| -> Vec<String> {
        let words = Word::split(line).expect("words");
        words
            .into_iter()
            .map(|word| word.text.into_owned())
            .collect()
    };
    assert_eq!(texts("a b#c # d e"), ["a", "b#c"]);
    assert_eq!(texts(r#""a b" "\"\\" "#), ["a b", r#""\"#]);
    assert_eq!(texts("# nothing"), [""; 0]);
    assert_eq!(texts("a\r"), ["a"]);
    let error = Word::split("a \"b").expect_err("open quote");
    assert_eq!(
        (error.column, error.to_string()),
        (3, "the quote is not closed".to_owned())
    );
}

#[test]
fn a_line_of_too_many_words_is_refused() {
    Word::split(&"a ".repeat(WORDS_MAX)).expect("words");
    Word::split(&"a ".repeat(WORDS_MAX + 1)).expect_err("refused");
}

#[test]
fn a_word_nobody_would_read_is_cut_in_the_message() {
    let (_, message) = why(&"x".repeat(10_000));
    assert!(message.len() < 200, "{message}");
}

proptest! {
    #[test]
    fn any_line_is_a_command_or_refused(line in "(s|say|hello|show|count|[0-9]|\"|\\\\|#| |é|x){0,20}") {
        let _ = parse(&line);
        let _ = completions(&line);
    }

    #[test]
    fn a_quoted_word_is_the_word(text in ".*") {
        let quoted = Word::quote(&text);
        prop_assert!(!quoted.contains('\n'));
        let words = Word::split(&quoted).expect("closed quotes");
        prop_assert_eq!(words.len(), 1);
        prop_assert_eq!(&words[0].text, &text);
    }
}
