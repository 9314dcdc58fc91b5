//! Updates over the remote API: parts of a bundle into the updater's folder, then an order beside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::places::{Place, Places};
use crate::control::{FailureKind, Person, Response, UpdateOrder};
use crate::update::{Spool, Upload};

/// Hands over to the updater. One bundle at a time: there is one place for it.
pub(super) struct Updates {
    spool: Spool,
    uploads: Places,
}

/// The bundle that a connection hands over.
#[derive(Debug)]
pub(super) struct Bundle {
    upload: Upload,
    _place: Place,
}

impl Default for Updates {
    fn default() -> Self {
        Self::new(Spool::default())
    }
}

fn failed(error: impl std::fmt::Display) -> Response {
    Response::failed(FailureKind::Failed, error.to_string())
}

impl Updates {
    fn new(spool: Spool) -> Self {
        Self { spool, uploads: Places::new(1) }
    }

    /// How updates stand.
    pub(super) fn status(&self) -> Response {
        self.spool.status().map_or_else(failed, |status| Response::Update(Box::new(status)))
    }

    /// Takes a part of a bundle; the first one, at byte 0, begins it.
    pub(super) fn part(&self, bundle: &mut Option<Bundle>, from: u64, base64: &str) -> Response {
        let Ok(part) = STANDARD.decode(base64) else {
            return Response::failed(FailureKind::Usage, "the part is no base64");
        };
        if from == 0 {
            // Of what this connection began before, the place is free again.
            *bundle = None;
            let Some(place) = self.uploads.take() else {
                return failed("another bundle is being handed over; try again");
            };
            match self.spool.begin() {
                Ok(upload) => *bundle = Some(Bundle { upload, _place: place }),
                Err(error) => return failed(error),
            }
        }
        let Some(begun) = bundle else { return failed("a bundle begins with its byte 0") };
        match begun.upload.write(from, &part) {
            Ok(()) => Response::Done,
            Err(error) => {
                *bundle = None;
                failed(error)
            }
        }
    }

    /// Leaves an order; that to apply needs a bundle that this connection handed over.
    pub(super) fn order(
        &self,
        bundle: &mut Option<Bundle>,
        order: UpdateOrder,
        now: bool,
        person: &Person,
    ) -> Response {
        if order == UpdateOrder::Apply {
            let Some(begun) = bundle.take() else { return failed("hand the bundle over first, on this connection") };
            if let Err(error) = begun.upload.finish() {
                return failed(error);
            }
        }
        let who = format!("{} ({}) {}", person.user, person.role, person.address);
        match self.spool.order(order, now, &who) {
            Ok(mark) => Response::UpdateOrdered { mark },
            Err(error) => failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn sentence(response: Response) -> String {
        match response {
            Response::Failed { messages, .. } => messages.join("; "),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_bundle_at_a_time_and_no_order_without_one() {
        let folder = std::env::temp_dir().join(format!("vambrace-updates-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let updates = Updates::new(Spool::at(folder.clone(), folder.join("status.toml")));
        let person = Person { user: "eva".into(), role: "engineer".into(), address: [10, 0, 0, 5].into() };
        let (mut mine, mut yours) = (None, None);
        assert!(sentence(updates.part(&mut mine, 0, "")).contains("does not run the appliance image"));
        assert!(sentence(updates.status()).contains("does not run the appliance image"));
        let told = "version = \"0.1.0\"\nslot = \"esp-a\"\nfirst = \"esp-a\"\nother = \"\"\nepoch = 1\nstate = \"idle\"\n\
             held_seconds = 0\nhold_seconds = 1\nleft_seconds = 0\n";
        fs::write(folder.join("status.toml"), told).unwrap();
        assert!(sentence(updates.order(&mut mine, UpdateOrder::Apply, false, &person)).contains("bundle over first"));
        assert!(sentence(updates.part(&mut mine, 3, "b25l")).contains("begins with its byte 0"));
        assert_eq!(updates.part(&mut mine, 0, "b25l"), Response::Done);
        assert!(sentence(updates.part(&mut yours, 0, "eA==")).contains("another bundle"));
        assert!(sentence(updates.part(&mut mine, 7, "eA==")).contains("hand it over again"));
        assert_eq!(updates.part(&mut yours, 0, "eHg="), Response::Done);
        let Response::UpdateOrdered { mark } = updates.order(&mut yours, UpdateOrder::Apply, true, &person) else {
            panic!("no order")
        };
        let order = fs::read_to_string(folder.join("order.toml")).unwrap();
        assert!(order.contains(&mark) && order.contains("eva (engineer) 10.0.0.5"), "{order}");
        assert_eq!(fs::read(folder.join("bundle")).unwrap(), b"xx");
        assert!(sentence(updates.part(&mut None, 0, "?")).contains("base64"));
        fs::remove_dir_all(folder).unwrap();
    }
}
