#![allow(clippy::arithmetic_side_effects)]

use std::io::Write;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-index-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, lines: &[&str]) -> PathBuf {
        let path = self.0.join(name);
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
        path
    }

    fn index(&self) -> Index {
        Index::open(&self.0.join("index.sqlite")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A line is `time word low high`; a dash is nothing, a star is odd.
fn facts(line: &str) -> Option<Facts> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [time, word, low, high] = parts[..] else { return None };
    let words = match word {
        "-" => Word::Absent,
        "*" => Word::Odd,
        text => Word::Text(text.into()),
    };
    let written = low.parse().ok().zip(high.parse().ok());
    Some(Facts { time_us: time.parse().ok(), words: vec![words], written, behaviour: Some(word.into()) })
}

fn lines(index: &Index, files: &[PathBuf], condition: &Condition) -> Vec<String> {
    let found = index.find(files, condition, 1000).unwrap().unwrap();
    let texts: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let text = |place: &Place| {
        let [from, length] = [place.offset, place.length].map(|it| usize::try_from(it).unwrap());
        String::from_utf8(texts[place.file][from..from + length].to_vec()).unwrap()
    };
    found.places.iter().map(text).collect()
}

fn named(index: &Index, word: &str) -> Condition {
    let words = index.words(0, &mut |text| text == word).unwrap();
    Condition::Words { column: 0, words, absent: false }
}

#[test]
fn lines_are_found_by_what_is_known_of_them() {
    let folder = Folder::new("found");
    let files = [
        folder.write("a", &["1 hmi - -", "2 plc 130 140", "no line of ours at all", "3 - 0 65535"]),
        folder.write("b", &["4 hmi 7 7", "x * - -"]),
    ];
    let mut index = folder.index();
    index.update(&files, &facts).unwrap();
    let found = |condition: &Condition| lines(&index, &files, condition);
    assert_eq!(found(&Condition::Any).len(), 5);
    // What is odd may be anything.
    assert_eq!(found(&named(&index, "hmi")), ["1 hmi - -", "4 hmi 7 7", "x * - -"]);
    assert_eq!(found(&Condition::Words { column: 0, words: vec![], absent: true }), ["3 - 0 65535", "x * - -"]);
    assert_eq!(found(&Condition::Time(2, 3)), ["2 plc 130 140", "3 - 0 65535", "x * - -"]);
    for (address, expected) in [(129, 1), (130, 2), (135, 2), (140, 2), (141, 1), (7, 2), (65_535, 1), (65_536, 0)] {
        assert_eq!(found(&Condition::Written(address, address)).len(), expected, "{address}");
    }
    let both = Condition::All(vec![Condition::Time(1, 3), Condition::Written(130, 200)]);
    assert_eq!(found(&both), ["2 plc 130 140", "3 - 0 65535"]);
    assert_eq!(found(&Condition::One(vec![])).len(), 0);
    assert_eq!(found(&Condition::First), ["1 hmi - -", "2 plc 130 140", "3 - 0 65535", "x * - -"]);
    assert_eq!(index.find(&files, &Condition::Any, 4).unwrap(), None);
}

#[test]
fn it_goes_on_where_it_was_and_follows_files_that_are_renamed_and_removed() {
    let folder = Folder::new("follows");
    let growing = folder.write("eve.json", &["1 hmi - -"]);
    let mut index = folder.index();
    index.update(std::slice::from_ref(&growing), &facts).unwrap();
    // Half a line is none yet.
    File::options().append(true).open(&growing).unwrap().write_all(b"2 pl").unwrap();
    index.update(std::slice::from_ref(&growing), &facts).unwrap();
    let found = index.find(std::slice::from_ref(&growing), &Condition::Any, 9).unwrap().unwrap();
    assert_eq!((found.places.len(), found.from), (1, vec![10]));
    File::options().append(true).open(&growing).unwrap().write_all(b"c - -\n").unwrap();
    let older = folder.0.join("eve-1.json");
    fs::rename(&growing, &older).unwrap();
    let growing = folder.write("eve.json", &["3 hmi 5 5"]);
    let files = [older.clone(), growing.clone()];
    // Opened anew, as the next question does.
    let mut index = folder.index();
    index.update(&files, &facts).unwrap();
    assert_eq!(lines(&index, &files, &Condition::Any), ["1 hmi - -", "2 plc - -", "3 hmi 5 5"]);
    fs::remove_file(&older).unwrap();
    let files = [growing];
    index.update(&files, &facts).unwrap();
    assert_eq!(lines(&index, &files, &Condition::Any), ["3 hmi 5 5"]);
    // What was known of is gone, so this is the first now.
    assert_eq!(lines(&index, &files, &Condition::First), ["3 hmi 5 5"]);
    let rows: i64 = index.db.query_row("SELECT count(*) FROM line", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    // An older file comes back: rows stand in the order of the files.
    let before = folder.write("eve-0.json", &["0 hmi - -"]);
    let files = [before, files[0].clone()];
    index.update(&files, &facts).unwrap();
    assert_eq!(lines(&index, &files, &Condition::First), ["0 hmi - -"]);
}

#[test]
fn what_is_lost_damaged_or_of_another_layout_is_made_anew() {
    let folder = Folder::new("anew");
    let many: Vec<String> = (0..3000).map(|n| format!("{n} word{} - -", n % 700)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let files = [folder.write("a", &many)];
    let path = folder.0.join("index.sqlite");
    let check = |what: &str| {
        let mut index = folder.index();
        index.update(&files, &facts).unwrap();
        assert_eq!(lines(&index, &files, &named(&index, "word7")).len(), 5, "{what}");
    };
    check("new");
    fs::remove_file(&path).unwrap();
    check("lost");
    fs::write(&path, b"this is no index at all, however long it may be").unwrap();
    check("something else");
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    check("another layout");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    check("somebody else's");
    // Cut off, and overwritten in the middle: told when it is met, and made anew.
    let len = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(len / 2).unwrap();
    let found = |index: &Index| index.find(&files, &Condition::First, 10_000).map(|found| found.unwrap().places.len());
    let mut index = folder.index();
    let _ = index.update(&files, &facts);
    // Either it was noticed and made anew, or whoever asks is told and reads the files.
    assert!(found(&index).map_or(true, |count| count == 700));
}
