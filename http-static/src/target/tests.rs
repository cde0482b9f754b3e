use proptest::prelude::*;

use super::*;

fn path(raw: &str) -> Result<String, u16> {
    Target::parse(raw.as_bytes())
        .map(|target| String::from_utf8(target.path).unwrap())
        .map_err(|status| status.as_u16())
}

#[test]
fn paths_are_decoded_and_put_in_order() {
    for (raw, expected) in [
        ("/", Ok("index.html")),
        ("/a", Ok("a")),
        ("/a/", Ok("a/index.html")),
        ("//a//b", Ok("a/b")),
        ("/./a/./", Ok("a/index.html")),
        ("/a/.", Ok("a/index.html")),
        ("/%61%20b", Ok("a b")),
        ("/a\\..\\b", Ok("a\\..\\b")),
        ("/..data/x", Ok("..data/x")),
        ("/%252e", Ok("%2e")),
        ("/..", Err(400)),
        ("/a/%2E%2e/b", Err(400)),
        ("/a%00", Err(400)),
        ("/%", Err(400)),
        ("/%4", Err(400)),
        ("/%+1", Err(400)),
        ("/a%2fb", Err(404)),
        ("a", Err(400)),
        ("", Err(400)),
        ("*", Err(400)),
    ] {
        assert_eq!(path(raw), expected.map(str::to_owned), "{raw}");
    }
    assert_eq!(path(&format!("/{}", "a/".repeat(3000))), Err(404));
}

#[test]
fn only_a_paths_own_spelling_is_remembered() {
    let canonical = |raw: &str| Target::parse(raw.as_bytes()).unwrap().canonical;
    assert!(["/", "/a", "/a/", "/a/b.c"].into_iter().all(canonical));
    assert!(!["/%61", "/a//b", "/./a", "/a/."].into_iter().any(canonical));
}

#[test]
fn a_location_begins_with_one_slash_and_is_ascii() {
    assert_eq!(directory_location(b"a b/\xc3\xbc%"), "/a%20b/%C3%BC%25/");
}

proptest! {
    #[test]
    fn no_target_leaves_the_root(raw in "/([./%\\\\a0-9eEfF2]|%2e|%2f|\\.\\.){0,40}") {
        if let Ok(target) = Target::parse(raw.as_bytes()) {
            prop_assert!(!target.path.contains(&0));
            for segment in target.path.split(|octet| *octet == b'/') {
                prop_assert!(!matches!(segment, b"" | b"." | b".."), "{:?}", target);
            }
        }
    }

    #[test]
    fn any_octets_are_read(raw in prop::collection::vec(any::<u8>(), 0..100)) {
        drop(Target::parse(&raw));
    }

    #[test]
    fn a_location_leads_back_to_its_directory(name in prop::collection::vec(1_u8.., 1..20)) {
        prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
        let target = Target::parse(directory_location(&name).as_bytes()).unwrap();
        prop_assert_eq!(target.path, [&name[..], b"/index.html"].concat());
    }
}
