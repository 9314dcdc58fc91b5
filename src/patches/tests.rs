#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

use super::*;
use crate::policy::{Asset, Moment};

const NOW: Moment = Moment { wall_ns: 1_790_000_000_000_000_000, monotonic_ns: 1_000_000_000 };

const LEAST: &str = "format = 1\nversion = 4000000000\nattack = \"18.1\"\n[[patch]]\nid = \"CVE-2026-0001\"\ntitle = \"t\"\n\
    source = [\"s\"]\naffected = [{ generation = \"cb3\" }]\ncontained = \"yes\"\nhow = [\"rule\"]\nbecause = \"b\"\n\
    [[patch.deny]]\nservice = \"tcp/6666\"\n[[patch.vector]]\nname = \"v\"\nservice = \"tcp/6666\"\n";

fn policy(exemptions: &str) -> Policy {
    let assets = [Asset { name: "robot".into(), address: "10.0.0.1".parse().unwrap(), is_robot: true }];
    let text = format!("version = 1\nrobot = \"robot\"\n{exemptions}");
    Policy::compile("policy.toml", &text, &assets, 1, NOW).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Vec<String> {
    match Pack::read("pack.toml", text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn the_built_in_pack_is_whole() {
    let pack = Pack::built_in();
    assert_eq!(pack.attack(), "18.1");
    let of = |contained| {
        pack.patches().iter().filter(|patch| patch.is_of_controllers() && patch.contained == contained).count()
    };
    // The count of the public sources: nineteen flaws or groups of them, one of which is CVE-2026-8153.
    assert_eq!((of(Contained::Yes), of(Contained::Partly)), (9, 7));
    let named_no: Vec<&str> =
        pack.patches().iter().filter(|patch| patch.contained == Contained::No).map(|patch| patch.id.as_str()).collect();
    assert_eq!(named_no, ["RVD-34", "CVE-2019-19625", "CVE-2019-19626", "RVD-1409", "CVE-2016-6323"]);
    for patch in pack.patches() {
        assert!(!patch.source.is_empty(), "{} has no source", patch.id);
        assert!(patch.contained == Contained::No || !patch.harmless.is_empty(), "{} has nothing harmless", patch.id);
        assert!(patch.open.is_some() || patch.contained == Contained::No, "{}: what stays open is not said", patch.id);
    }
}

#[test]
fn the_version_chooses_and_an_unknown_one_means_all() {
    let pack = Pack::built_in();
    let applies = |id: &str, version: &str| pack.patch(id).unwrap().applies(Some(version.parse().unwrap()));
    assert!(applies("CVE-2026-8153", "5.25.0") && !applies("CVE-2026-8153", "5.25.1"));
    assert!(!applies("CVE-2026-8153", "3.15.8") && !applies("CVE-2026-8153", "10.11.0"));
    assert!(applies("RVD-6", "3.3.4") && !applies("RVD-6", "3.4.0"));
    assert!(!applies("CVE-2020-10265", "1.3.0") && applies("CVE-2020-10265", "1.4.0"));
    assert!(pack.patch("RVD-6").unwrap().applies(None));
    assert!(!pack.patch("CVE-2016-6323").unwrap().applies(None), "it is no flaw of these controllers");
    let ids = |version: Option<&str>| {
        let policy = policy("");
        let version = version.map(|text| text.parse().unwrap());
        pack.tightenings(version, &policy, NOW.wall_ns).iter().map(|it| it.id.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(None), ["CVE-2018-10635", "RVD-1406", "CVE-2020-10265"]);
    assert_eq!(ids(Some("5.12.0")), ["CVE-2018-10635", "CVE-2020-10265"]);
    assert_eq!(ids(Some("10.11.0")), [""; 0]);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = LEAST
        .replace("version = 4000000000", "version = 0\nvrsion = 7")
        .replace("CVE-2026-0001", "CVE 1")
        .replace("\"cb3\"", "\"cb9\"")
        .replace("name = \"v\"", "nmae = \"v\"")
        .replace("tcp/6666\"\n[[", "tcp/6666\"\nrate = { per_second = 1, burst = 1 }\n[[");
    let found = problems(&text);
    let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "pack.toml:2:11",
            "pack.toml:3:1",
            "pack.toml:6:6",
            "pack.toml:9:28",
            "pack.toml:13:1",
            "pack.toml:15:8",
            "pack.toml:16:1",
            "pack.toml:17:1"
        ],
        "{found:#?}"
    );
    assert!(found[1].contains("unknown key `vrsion`") && found[1].contains("`version`"), "{}", found[1]);
}

#[test]
fn entries_that_contradict_themselves_are_refused() {
    assert_eq!(problems(LEAST), [""; 0]);
    let twice = LEAST.find("[[patch]]").unwrap();
    for (text, what) in [
        (LEAST.replace("how = [\"rule\"]", "how = [\"default\"]"), "its deny rules don't agree"),
        (LEAST.replace("how = [\"rule\"]\n", ""), "`how` don't agree"),
        (LEAST.replace("contained = \"yes\"", "contained = \"partly\""), "nothing is said to stay open"),
        (LEAST.replace("[{ generation = \"cb3\" }]", "[]"), "is about no controller"),
        (format!("{LEAST}{}", &LEAST[twice..]), "a second entry has the id"),
        (LEAST.replace("id = \"CVE", "cve = [\"CVE-1\"]\nid = \"CVE"), "is no CVE id"),
        (LEAST.replace("id = \"CVE", "technique = [\"T08\"]\nid = \"CVE"), "is no technique"),
        (LEAST[..LEAST.find("[[patch.vector]]").unwrap()].to_owned(), "its vectors don't agree"),
        (LEAST.replace("format = 1", "format = 2"), "of a later version"),
        (LEAST.replace("format = 1\n", ""), "`format` is missing"),
        (
            LEAST.replace("service = \"tcp/6666\"\n[[", "from = \"10.0.0.9\"\nservice = \"tcp/6666\"\n[["),
            "can't have `from`",
        ),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn a_pack_is_taken_only_from_its_issuer() {
    let (key, other) = (SecretKey::of_seed(&[3; 32]), SecretKey::of_seed(&[4; 32]));
    let signature = key.sign(LEAST.as_bytes());
    let take = |bytes: &[u8], signature: &str, key: &SecretKey| {
        Pack::signed("pack.toml", bytes, signature, &key.public())
            .map(|pack| pack.version())
            .map_err(|it| it.to_string())
    };
    assert_eq!(take(LEAST.as_bytes(), &signature, &key), Ok(4_000_000_000));
    for at in [0, LEAST.len() / 2, LEAST.len() - 1] {
        let mut flipped = LEAST.as_bytes().to_vec();
        flipped[at] ^= 1;
        let error = take(&flipped, &signature, &key).unwrap_err();
        assert!(error.starts_with("pack.toml: the signature is not that of key") && !error.contains('\n'), "{error}");
    }
    assert!(take(LEAST.as_bytes(), &signature, &other).unwrap_err().contains("another key signed it"));
    assert!(take(LEAST.as_bytes(), "nothing", &key).unwrap_err().contains("not \"ed25519-signature:\""));
    // A good signature over what can't be read: the problems with their places.
    let broken = LEAST.replace("title", "titel");
    let error = take(broken.as_bytes(), &key.sign(broken.as_bytes()), &key).unwrap_err();
    assert!(error.contains("pack.toml:6:1: unknown key `titel`"), "{error}");
    let latin = b"format = 1\nx = \"\xff\"";
    assert!(take(latin, &key.sign(latin), &key).unwrap_err().contains("pack.toml:2:6"));
}

#[test]
fn an_older_pack_than_the_built_in_one_is_refused() {
    let key = SecretKey::of_seed(&[3; 32]);
    let built_in = Pack::built_in().version();
    let equal = LEAST.replace("version = 4000000000", &format!("version = {built_in}"));
    assert!(Pack::signed("p", equal.as_bytes(), &key.sign(equal.as_bytes()), &key.public()).is_ok());
    let text = LEAST.replace("version = 4000000000", &format!("version = {}", built_in - 1));
    let error = Pack::signed("p", text.as_bytes(), &key.sign(text.as_bytes()), &key.public()).unwrap_err().to_string();
    let older = built_in - 1;
    assert_eq!(
        error,
        format!("p: version {older} is older than {built_in}, the version of the built-in pack; take a newer one")
    );
}

#[test]
fn exemptions_rest_the_rules_of_one_patch_until_their_end() {
    let pack = Pack::built_in();
    let exempt = |until: &str, id: &str| {
        policy(&format!("[[exempt]]\npatch = \"{id}\"\nreason = \"commissioning\"\nuntil = {until}\n"))
    };
    let rests = |policy: &Policy| {
        let all = pack.tightenings(None, policy, NOW.wall_ns);
        all.iter().filter(|it| it.rests_until.is_some()).map(|it| it.id.to_owned()).collect::<Vec<_>>()
    };
    // The moment lies in September 2026.
    assert_eq!(rests(&exempt("2026-10-01T00:00:00Z", "CVE-2020-10265")), ["CVE-2020-10265"]);
    assert_eq!(rests(&exempt("2026-09-01T00:00:00Z", "CVE-2020-10265")), [""; 0]);
    let doubts = |policy: &Policy| pack.doubts("policy.toml", policy, NOW.wall_ns);
    assert_eq!(doubts(&exempt("2026-10-01T00:00:00Z", "CVE-2020-10265")), [""; 0]);
    for (until, id, what) in [
        (
            "2026-10-01T00:00:00Z",
            "CVE-2020-10256",
            "policy.toml:4:9: \"CVE-2020-10256\" is no patch of the pack in force; \
          write \"CVE-2020-1026",
        ),
        ("2026-09-01T00:00:00Z", "CVE-2020-10265", "policy.toml:4:9: the exemption from CVE-2020-10265 ended"),
        ("2026-10-01T00:00:00Z", "CVE-2026-8153", "policy.toml:4:9: CVE-2026-8153 has no deny rules"),
    ] {
        let found = doubts(&exempt(until, id));
        assert!(found.len() == 1 && found[0].starts_with(what), "{found:?}");
    }
}
