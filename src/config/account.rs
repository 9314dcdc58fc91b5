//! Accounts of the system, as passwd(5) has them.

use std::io;

/// An account by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The user's own group.
    pub gid: u32,
}

impl Account {
    /// The account with this name, or with this uid where the name is a number.
    ///
    /// # Errors
    /// `/etc/passwd` can't be read, or has no such account.
    pub fn named(name: &str) -> io::Result<Self> {
        Self::among(&std::fs::read_to_string("/etc/passwd")?, name).ok_or_else(|| {
            let what = format!("/etc/passwd has no account {name}; make one: useradd --system {name}");
            io::Error::new(io::ErrorKind::NotFound, what)
        })
    }

    fn among(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (own, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let found = Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
            (own == name || uid == name).then_some(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nguard:x:990:980::/nonexistent:/usr/sbin/nologin\n";
        let guard = Some(Account { uid: 990, gid: 980 });
        assert_eq!((Account::among(passwd, "guard"), Account::among(passwd, "990")), (guard, guard));
        assert_eq!(Account::among(passwd, "980"), None);
        assert!(Account::named("no-such-account-here").is_err());
    }
}
