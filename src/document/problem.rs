use std::fmt;

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
