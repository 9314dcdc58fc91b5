use std::fmt;
use std::path::Path;

/// One thing that is wrong with a file, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

/// Everything that is wrong with one file, in order of place; shown as one line a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The file as the user named it.
    pub file: String,
    /// What is wrong, in order of place.
    pub list: Vec<Problem>,
}

impl Problems {
    /// A file that can't be read at all, blamed on its first character.
    #[must_use]
    pub fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let problem = Problem {
            line: 1,
            column: 1,
            what: format!("can't be read: {error}"),
            mend: "give the path of a readable file".to_owned(),
        };
        Self { file: file.to_owned(), list: vec![problem] }
    }

    /// The text of a file that people write, from what reading it gave.
    ///
    /// # Errors
    /// The file can't be read, or is no UTF-8: with the place of the first byte that is none.
    pub fn text(path: &Path, read: Result<Vec<u8>, std::io::Error>) -> Result<String, Self> {
        let name = path.display().to_string();
        let bytes = read.map_err(|error| Self::unreadable(&name, &error))?;
        String::from_utf8(bytes).map_err(|error| {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let before = String::from_utf8_lossy(before);
            let start = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
            let problem = Problem {
                line: before.matches('\n').count().saturating_add(1),
                column: before.get(start..).unwrap_or_default().chars().count().saturating_add(1),
                what: "what stands here is no UTF-8".to_owned(),
                mend: "save the file as UTF-8".to_owned(),
            };
            Self { file: name, list: vec![problem] }
        })
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let Problem { line, column, what, mend } = problem;
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{line}:{column}: {what}; {mend}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Whether a line for people begins with a place, `file:line:column: `, as [`Problems`] are shown: editors and scripts
/// find it only where nothing stands before it.
#[must_use]
pub fn has_place(line: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A file's name may hold colons itself.
    line.match_indices(": ").any(|(end, _)| {
        let mut parts = line.get(..end).unwrap_or_default().rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        column.is_some_and(is_number) && line.is_some_and(is_number) && file.is_some_and(|file| !file.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_other_lines() {
        assert!(has_place("policy.toml:3:3: unknown key"));
        assert!(has_place("C: or a: b:1:12: odd name"));
        for other in ["policy.toml: no such file", "replay: 12: 13", ":1:2: x", "at 10:20: x", "a:b:1: x", "a:1:: x"] {
            assert!(!has_place(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_utf_8_has_its_place() {
        let path = Path::new("p.toml");
        let problems = Problems::text(path, Ok(b"# \xc3\xa4\nmode = \"\xff\"\n".to_vec())).unwrap_err();
        assert_eq!((problems.list[0].line, problems.list[0].column), (2, 9));
        let problems = Problems::text(path, Err(std::io::Error::other("gone"))).unwrap_err();
        assert!(problems.to_string().contains("p.toml:1:1: can't be read: gone"), "{problems}");
    }
}
