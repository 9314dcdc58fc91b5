//! Encrypted segments, as far as they can be checked: without a secret key by what is told in the clear, with one by
//! what is sealed.

use super::{Fault, Verifier};
use crate::verify::report::Encrypted;
use crate::verify::unseal::{Keys, Opener, Sealed, check, fingerprint};

/// Most ids of keys that are kept for the report.
const RECIPIENTS: usize = 64;

/// How the segment that is read is encrypted.
#[derive(Clone, Debug)]
pub(super) struct Seal {
    /// The least that the next nonce may be.
    sequence: u64,
    /// Where an auditor's key was given, and the segment is encrypted to that.
    opener: Option<Opener>,
}

impl Verifier {
    /// The data key of the segment.
    pub(super) fn keys(&mut self, body: &[u8]) -> Result<(), Fault> {
        let keys = Keys::parse(body)?;
        let here = &self.here;
        if here.seal.is_some() || here.trailers > 0 || here.fresh.records > 0 {
            return Err("a data key stands where none may stand".into());
        }
        if keys.segment != here.number || keys.fingerprint != fingerprint(self.key.line()) {
            return Err("the data key is of another segment or box".into());
        }
        let opener = keys.unwrap(&self.identities)?;
        let told = self.report.encrypted.get_or_insert_with(Encrypted::default);
        told.segments = told.segments.saturating_add(1);
        told.opened_segments = told.opened_segments.saturating_add(u64::from(opener.is_some()));
        for id in keys.recipients() {
            if !told.recipients.contains(&id) && told.recipients.len() < RECIPIENTS {
                told.recipients.push(id);
            }
        }
        self.here.seal = Some(Seal { sequence: 0, opener });
        Ok(())
    }

    /// Records and packets that are sealed.
    pub(super) fn sealed(&mut self, body: &[u8]) -> Result<(), Fault> {
        let sealed = Sealed::parse(body)?;
        let expected = self.report.last_record.saturating_add(self.here.fresh.records).saturating_add(1);
        let place = (self.here.number, self.tree.leaves(), expected);
        let Some(seal) = &mut self.here.seal else {
            return Err("sealed records stand in a segment without a data key".into());
        };
        if (sealed.segment, sealed.block, sealed.first_record) != place {
            return Err("what is sealed belongs to another place".into());
        }
        if sealed.sequence < seal.sequence {
            return Err("something was sealed with a nonce that had been used".into());
        }
        seal.sequence = sealed.sequence.checked_add(1).ok_or("a nonce is the last one that there is")?;
        if let Some(opener) = &seal.opener {
            check(&sealed, &opener.open(&sealed)?, self.here.interfaces)?;
        }
        // The names of the assets are sealed alone, in front of the first record.
        if let Some(others) = u64::from(sealed.records).checked_sub(1) {
            self.numbered(false)?;
            let told = self.report.encrypted.get_or_insert_with(Encrypted::default);
            told.records = told.records.saturating_add(others).saturating_add(1);
            self.here.records = self.here.records.saturating_add(others);
            let fresh = &mut self.here.fresh;
            fresh.records = fresh.records.saturating_add(others);
            fresh.packets = fresh.packets.saturating_add(u64::from(sealed.packets));
            fresh.refused = fresh.refused.saturating_add(u64::from(sealed.refused));
        }
        if self.run.recovers.is_some() && sealed.records > 0 {
            return Err("a run follows one that did not end, and does not say what it found".into());
        }
        Ok(())
    }
}
