//! A secret that the TPM gives back to this machine alone, and only after a start under the same Secure Boot keys.
//!
//! The secret is sealed under a storage key that the TPM makes anew from its own seed each time, so nothing is kept in it. What it
//! is sealed to is PCR 7, in which the firmware measures whether Secure Boot is on, its keys, and the key that vouched for
//! what was started (TCG PC Client Platform Firmware Profile 1.06, 3.3.4.8).
//!
//! Source: TCG TPM 2.0 Library, Part 3 (Commands): 24.1 CreatePrimary, 12.1 Create, 12.2 Load, 12.7 Unseal, 11.1
//! StartAuthSession, 23.7 PolicyPCR, 22.4 PCR_Read, 28.4 FlushContext. The codec is a library's.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tpm2_protocol::basic::{TpmHandle, TpmUint16, TpmUint32};
use tpm2_protocol::constant::TPM_MAX_COMMAND_SIZE;
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bData, Tpm2bDigest, Tpm2bEncryptedSecret, Tpm2bNonce, Tpm2bPrivate, Tpm2bPublic,
    Tpm2bSensitiveCreate, Tpm2bSensitiveData, TpmAlgId, TpmEccCurve, TpmRc, TpmRcBase, TpmRh, TpmSe, TpmSt, TpmaObject,
    TpmaSession, TpmlDigest, TpmlPcrSelection, TpmsAuthCommand, TpmsEccParms, TpmsEccPoint, TpmsKeyedhashParms,
    TpmsPcrSelect, TpmsPcrSelection, TpmsSensitiveCreate, TpmtPublic, TpmtSymDefObject, TpmuPublicId, TpmuPublicIdView,
    TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
};
use tpm2_protocol::frame::{
    TpmCreateCommand, TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmCreateResponse, TpmFlushContextCommand,
    TpmFlushContextResponse, TpmFrame, TpmHeader, TpmLoadCommand, TpmLoadResponse, TpmPcrReadCommand,
    TpmPcrReadResponse, TpmPolicyPcrCommand, TpmPolicyPcrResponse, TpmResponse, TpmStartAuthSessionCommand,
    TpmStartAuthSessionResponse, TpmUnsealCommand, TpmUnsealResponse, tpm_marshal_command,
};
use tpm2_protocol::{TpmField, TpmMarshal, TpmResult, TpmWriter};
use zeroize::Zeroizing;

use crate::{At, Failure};

/// The kernel's way to the TPM that keeps its few places free: what a program left there goes when it closes the file.
pub const DEVICE: &str = "/dev/tpmrm0";

/// Largest secret, in bytes. Source: Part 2, MAX_SYM_DATA.
pub const LARGEST: usize = 128;

/// The register that secrets are sealed to.
const PCR: u8 = 7;

/// Bytes of SHA-256.
const DIGEST: usize = 32;

/// The way to a TPM: a command is written whole, and its answer read whole.
pub trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A TPM.
pub struct Tpm(Box<dyn Wire>);

/// A secret as the TPM gave it out: of no use without that TPM.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// What PCR 7 held.
    #[serde(with = "hex")]
    pcr7: Vec<u8>,
    /// The encrypted part.
    #[serde(with = "hex")]
    private: Vec<u8>,
    /// What the open part has of its own; the rest of it is the same for each secret.
    #[serde(with = "hex")]
    unique: Vec<u8>,
}

/// Why a secret did not come back.
#[derive(Debug)]
pub enum Withheld {
    /// PCR 7 is not what it was.
    Registers,
    /// It was sealed by another TPM, or by this one before it was cleared.
    Stranger,
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for Withheld {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What the TPM said instead of an answer.
enum Refusal {
    Code(TpmRc),
    Failed(Failure),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Code(code) => Self(format!("the TPM refuses: {code}")),
            Refusal::Failed(failure) => failure,
        }
    }
}

/// The parts of an answer.
struct Answer {
    handle: TpmHandle,
    parameters: Zeroizing<Vec<u8>>,
}

impl Tpm {
    /// Opens the machine's.
    ///
    /// # Errors
    /// There is none, or no driver for it.
    pub fn open() -> Result<Self, Failure> {
        let device = File::options().read(true).write(true).open(Path::new(DEVICE));
        match device {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure("there is no TPM".to_owned())),
            device => Ok(Self::over(device.at(DEVICE)?)),
        }
    }

    /// One that is reached otherwise.
    #[must_use]
    pub fn over(wire: impl Wire + 'static) -> Self {
        Self(Box::new(wire))
    }

    /// Seals a secret to what PCR 7 holds now.
    ///
    /// # Errors
    /// The TPM refuses, as one does whose owner has a password; or the secret is too large.
    pub fn seal(&mut self, secret: &[u8]) -> Result<Sealed, Failure> {
        let pcr7 = self.pcr()?;
        let sensitive =
            TpmsSensitiveCreate { user_auth: Tpm2bAuth::new(), data: fill(Tpm2bSensitiveData::try_from(secret))? };
        let storage = self.storage()?;
        let created = self.call::<_, TpmCreateResponse>(
            &TpmCreateCommand {
                handles: [storage],
                in_sensitive: Tpm2bSensitiveCreate { inner: sensitive },
                in_public: Tpm2bPublic { inner: sealed(&pcr7, Tpm2bDigest::new())? },
                outside_info: Tpm2bData::new(),
                creation_pcr: TpmlPcrSelection::new(),
            },
            Some(TpmHandle::from(PASSWORD)),
        );
        self.flush(storage);
        let created = created?;
        let (private, unique) = fill(parts(&created.parameters))?;
        Ok(Sealed { pcr7, private, unique })
    }

    /// Gives a sealed secret back.
    ///
    /// # Errors
    /// The TPM does not.
    pub fn unseal(&mut self, from: &Sealed) -> Result<Zeroizing<Vec<u8>>, Withheld> {
        if self.pcr()? != from.pcr7 {
            return Err(Withheld::Registers);
        }
        let private = fill(Tpm2bPrivate::try_from(from.private.as_slice()))?;
        let public = sealed(&from.pcr7, fill(Tpm2bDigest::try_from(from.unique.as_slice()))?)?;
        let storage = self.storage()?;
        let load = TpmLoadCommand { handles: [storage], in_private: private, in_public: Tpm2bPublic { inner: public } };
        let loaded = self.call::<_, TpmLoadResponse>(&load, Some(TpmHandle::from(PASSWORD)));
        self.flush(storage);
        let object = match loaded {
            Ok(loaded) => loaded.handle,
            Err(Refusal::Code(_)) => return Err(Withheld::Stranger),
            Err(Refusal::Failed(failure)) => return Err(failure.into()),
        };
        let told = self.unseal_loaded(object);
        self.flush(object);
        told
    }

    fn unseal_loaded(&mut self, object: TpmHandle) -> Result<Zeroizing<Vec<u8>>, Withheld> {
        let begin = TpmStartAuthSessionCommand {
            handles: [TpmHandle::from(TpmRh::Null.value()); 2],
            // It protects nothing here, but must be as long as half a digest.
            nonce_caller: fill(Tpm2bNonce::try_from([0; DIGEST].as_slice()))?,
            encrypted_salt: Tpm2bEncryptedSecret::new(),
            session_type: TpmSe::Policy,
            symmetric: TpmtSymDefObject { algorithm: TpmAlgId::Null, ..TpmtSymDefObject::default() },
            auth_hash: TpmAlgId::Sha256,
        };
        let session = self.call::<_, TpmStartAuthSessionResponse>(&begin, None).map_err(Failure::from)?.handle;
        // The digest that is left out is the TPM's own of the registers as they are.
        let registers = TpmPolicyPcrCommand { handles: [session], pcr_digest: Tpm2bDigest::new(), pcrs: selection()? };
        let told = self
            .call::<_, TpmPolicyPcrResponse>(&registers, None)
            .and_then(|_| self.call::<_, TpmUnsealResponse>(&TpmUnsealCommand { handles: [object] }, Some(session)));
        match told {
            Ok(answer) => {
                let (secret, _) = fill(Tpm2bSensitiveData::cast_prefix_field(&answer.parameters))?;
                Ok(Zeroizing::new(secret.data().to_vec()))
            }
            Err(refusal) => {
                self.flush(session);
                Err(Failure::from(refusal).into())
            }
        }
    }

    /// What PCR 7 holds, in the bank of SHA-256.
    fn pcr(&mut self) -> Result<Vec<u8>, Failure> {
        let read = self
            .call::<_, TpmPcrReadResponse>(&TpmPcrReadCommand { pcr_selection_in: selection()?, handles: [] }, None)?;
        let values = (|| {
            let (_, rest) = TpmUint32::cast_prefix_field(&read.parameters)?;
            let (_, rest) = TpmlPcrSelection::cast_prefix_field(rest)?;
            let (values, _) = TpmlDigest::cast_prefix_field(rest)?;
            TpmResult::Ok(values.items_bytes().to_vec())
        })();
        // Two bytes of length before each. None where the firmware keeps no registers of SHA-256.
        let values = fill(values)?;
        let value = values.get(2..).filter(|value| value.len() == DIGEST);
        value.map(<[u8]>::to_vec).ok_or_else(|| Failure("the TPM keeps no register 7 of SHA-256".to_owned()))
    }

    /// The key that secrets lie under, from the seed of the TPM's owner: the same one each time, until the TPM is cleared.
    /// Source of its shape: TCG TPM v2.0 Provisioning Guidance, 7.5.1.
    fn storage(&mut self) -> Result<TpmHandle, Failure> {
        let attributes = TpmaObject::FIXED_TPM.bits()
            | TpmaObject::FIXED_PARENT.bits()
            | TpmaObject::SENSITIVE_DATA_ORIGIN.bits()
            | TpmaObject::USER_WITH_AUTH.bits()
            | TpmaObject::NO_DA.bits()
            | TpmaObject::RESTRICTED.bits()
            | TpmaObject::DECRYPT.bits();
        let symmetric = TpmtSymDefObject {
            algorithm: TpmAlgId::Aes,
            key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(128)),
            mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
        };
        let public = TpmtPublic {
            object_type: TpmAlgId::Ecc,
            name_alg: TpmAlgId::Sha256,
            object_attributes: TpmaObject::from_bits_truncate(attributes),
            auth_policy: Tpm2bDigest::new(),
            parameters: TpmuPublicParms::Ecc(TpmsEccParms {
                symmetric,
                curve_id: TpmEccCurve::NistP256,
                ..TpmsEccParms::default()
            }),
            unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
        };
        let command = TpmCreatePrimaryCommand {
            handles: [TpmHandle::from(TpmRh::Owner.value())],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic { inner: public },
            outside_info: Tpm2bData::new(),
            creation_pcr: TpmlPcrSelection::new(),
        };
        Ok(self.call::<_, TpmCreatePrimaryResponse>(&command, Some(TpmHandle::from(PASSWORD)))?.handle)
    }

    /// Gives a place in the TPM free. A place that is not given free is when the file is closed.
    fn flush(&mut self, handle: TpmHandle) {
        let _ = self
            .call::<_, TpmFlushContextResponse>(&TpmFlushContextCommand { flush_handle: handle, handles: [] }, None);
    }

    /// One command, with a session or without.
    fn call<C: TpmFrame, R: TpmHeader>(&mut self, command: &C, session: Option<TpmHandle>) -> Result<Answer, Refusal> {
        let session = session.map(|session_handle| TpmsAuthCommand {
            session_handle,
            nonce: Tpm2bNonce::new(),
            session_attributes: TpmaSession::default(),
            hmac: Tpm2bAuth::new(),
        });
        let tag = if session.is_some() { TpmSt::Sessions } else { TpmSt::NoSessions };
        let mut buffer = Zeroizing::new([0_u8; TPM_MAX_COMMAND_SIZE]);
        let mut writer = TpmWriter::new(buffer.as_mut_slice());
        fill(tpm_marshal_command(command, tag, session.as_slice(), &mut writer)).map_err(Refusal::Failed)?;
        let length = writer.len();
        let asked = self.0.write_all(buffer.get(..length).unwrap_or_default());
        asked.at("the TPM takes no command").map_err(Refusal::Failed)?;
        let read = self.0.read(buffer.as_mut_slice()).at("the TPM does not answer").map_err(Refusal::Failed)?;
        answer::<R>(buffer.get(..read).unwrap_or_default())
    }
}

/// The session that stands for a password; all passwords here are empty.
const PASSWORD: u32 = 0x4000_0009;

fn answer<R: TpmHeader>(bytes: &[u8]) -> Result<Answer, Refusal> {
    let response = fill(TpmResponse::cast(bytes)).map_err(Refusal::Failed)?;
    let code = fill(response.rc()).map_err(Refusal::Failed)?;
    if !matches!(code, TpmRc::Fmt0(TpmRcBase::Success)) {
        return Err(Refusal::Code(code));
    }
    fill(response.validate(R::CC)).map_err(Refusal::Failed)?;
    let split = || {
        let mut rest = response.body();
        let mut handle = TpmHandle::from(0);
        if R::HANDLES > 0 {
            let (found, behind) = rest.split_first_chunk()?;
            (handle, rest) = (TpmHandle::from(u32::from_be_bytes(*found)), behind);
        }
        // With sessions the parameters have a length in front, and the sessions' answers behind them.
        if response.tag().ok()? == TpmSt::Sessions {
            let (length, behind) = rest.split_first_chunk()?;
            rest = behind.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        }
        Some(Answer { handle, parameters: Zeroizing::new(rest.to_vec()) })
    };
    split().ok_or_else(|| Refusal::Failed(Failure("the TPM's answer is cut short".to_owned())))
}

/// What the library says of bytes that do not fit.
fn fill<T>(result: TpmResult<T>) -> Result<T, Failure> {
    result.at("the TPM's answer, or what is asked of it, has no right shape")
}

/// PCR 7 in the bank of SHA-256. Source: Part 2, 10.6.1: a bit for each of 24 registers.
fn selection() -> Result<TpmlPcrSelection, Failure> {
    let mut bits = [0_u8; 3];
    if let Some(byte) = bits.first_mut() {
        *byte = 1 << PCR;
    }
    let pcr_select = fill(TpmsPcrSelect::try_from(bits.as_slice()))?;
    let mut selection = TpmlPcrSelection::new();
    fill(selection.try_push(TpmsPcrSelection { hash: TpmAlgId::Sha256, pcr_select }))?;
    Ok(selection)
}

/// The policy that a register holds this value. Source: Part 3, 23.7: `H(0...0 || TPM_CC_PolicyPCR || pcrs || H(values))`.
fn policy(pcr7: &[u8]) -> Result<Tpm2bDigest, Failure> {
    const POLICY_PCR: u32 = 0x17f;
    let mut buffer = [0; 64];
    let mut pcrs = TpmWriter::new(&mut buffer);
    fill(selection()?.marshal(&mut pcrs))?;
    let digest = Sha256::new()
        .chain_update([0; DIGEST])
        .chain_update(POLICY_PCR.to_be_bytes())
        .chain_update(pcrs.as_bytes())
        .chain_update(Sha256::digest(pcr7))
        .finalize();
    fill(Tpm2bDigest::try_from(digest.as_slice()))
}

/// The open part of a sealed secret: only under the policy, without a password, for this TPM alone; wrong tries lock nothing.
fn sealed(pcr7: &[u8], unique: Tpm2bDigest) -> Result<TpmtPublic, Failure> {
    let attributes = TpmaObject::FIXED_TPM.bits()
        | TpmaObject::FIXED_PARENT.bits()
        | TpmaObject::ADMIN_WITH_POLICY.bits()
        | TpmaObject::NO_DA.bits();
    Ok(TpmtPublic {
        object_type: TpmAlgId::KeyedHash,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::from_bits_truncate(attributes),
        auth_policy: policy(pcr7)?,
        parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms::default()),
        unique: TpmuPublicId::KeyedHash(unique),
    })
}

/// The encrypted part of what was created, and what its open part has of its own.
fn parts(created: &[u8]) -> TpmResult<(Vec<u8>, Vec<u8>)> {
    let (private, rest) = Tpm2bPrivate::cast_prefix_field(created)?;
    let (public, _) = Tpm2bData::cast_prefix_field(rest)?;
    let (public, _) = TpmtPublic::cast_prefix_field(public.data())?;
    let unique = match public.unique {
        TpmuPublicIdView::KeyedHash(digest) => digest.data().to_vec(),
        _ => Vec::new(),
    };
    Ok((private.data().to_vec(), unique))
}

/// Bytes as hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Write;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        to.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.filter(|_| rest.is_empty()).ok_or_else(|| D::Error::custom("are no hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test may stop at the first surprise"
    )]
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};
    use tpm2_protocol::data::{TpmlDigestValues, TpmtHa, TpmuHa};
    use tpm2_protocol::frame::{TpmPcrExtendCommand, TpmPcrExtendResponse};

    /// An emulated TPM, with a seed of its own.
    struct Emulated(PathBuf, Child);

    impl Emulated {
        fn new(name: &str) -> Option<Self> {
            let place = std::env::temp_dir().join(format!("vbimg-tpm-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&place);
            std::fs::create_dir_all(&place).unwrap();
            let child = Command::new("swtpm")
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
                .arg(format!("dir={}", place.display()))
                .arg("--server")
                .arg(format!("type=unixio,path={}", place.join("socket").display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let Ok(child) = child else {
                eprintln!("skipped: swtpm is not installed");
                return None;
            };
            Some(Self(place, child))
        }

        fn open(&self) -> Tpm {
            let begun = Instant::now();
            loop {
                match UnixStream::connect(self.0.join("socket")) {
                    Ok(stream) => return Tpm::over(stream),
                    Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    impl Drop for Emulated {
        fn drop(&mut self) {
            let _ = self.1.kill();
            let _ = self.1.wait();
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// As the firmware does when other keys of Secure Boot are in it.
    fn extend(tpm: &mut Tpm) {
        let mut digests = TpmlDigestValues::new();
        let digest = TpmuHa::Digest(Tpm2bDigest::try_from([7; DIGEST].as_slice()).unwrap());
        digests.try_push(TpmtHa { hash_alg: TpmAlgId::Sha256, digest }).unwrap();
        let command = TpmPcrExtendCommand { handles: [TpmHandle::from(u32::from(PCR))], digests };
        assert!(tpm.call::<_, TpmPcrExtendResponse>(&command, Some(TpmHandle::from(PASSWORD))).is_ok());
    }

    #[test]
    fn a_secret_comes_back_while_the_register_holds_and_not_after() {
        let Some(emulated) = Emulated::new("registers") else { return };
        let mut tpm = emulated.open();
        let secret = [0x5a; 64];
        let sealed = tpm.seal(&secret).unwrap();
        assert!(!sealed.private.windows(8).any(|it| it == [0x5a; 8]));
        // As often as the box is started: no place in the TPM is left taken.
        for _ in 0..8 {
            assert_eq!(tpm.unseal(&sealed).unwrap().as_slice(), secret);
        }
        let kept = toml::to_string(&sealed).unwrap();
        assert_eq!(toml::from_str::<Sealed>(&kept).unwrap(), sealed);
        extend(&mut tpm);
        assert!(matches!(tpm.unseal(&sealed), Err(Withheld::Registers)));
        // Nor to one who claims that the register holds what it was sealed to: the TPM looks itself.
        let claimed = Sealed { pcr7: tpm.pcr().unwrap(), ..sealed.clone() };
        assert!(matches!(tpm.unseal(&claimed), Err(Withheld::Stranger)));
        // The policy is the TPM's to check: loaded as it was, it does not open.
        let storage = tpm.storage().unwrap();
        let public = super::sealed(&sealed.pcr7, Tpm2bDigest::try_from(sealed.unique.as_slice()).unwrap()).unwrap();
        let load = TpmLoadCommand {
            handles: [storage],
            in_private: Tpm2bPrivate::try_from(sealed.private.as_slice()).unwrap(),
            in_public: Tpm2bPublic { inner: public },
        };
        let loaded = tpm.call::<_, TpmLoadResponse>(&load, Some(TpmHandle::from(PASSWORD)));
        let Ok(loaded) = loaded else { panic!("it loads") };
        let Err(Withheld::Failed(failure)) = tpm.unseal_loaded(loaded.handle) else { panic!("it opened") };
        assert!(failure.0.contains("TPM_RC_POLICY_FAIL"), "{failure}");
    }

    #[test]
    fn another_tpm_gives_nothing_and_neither_do_altered_bytes() {
        let (Some(one), Some(other)) = (Emulated::new("one"), Emulated::new("other")) else { return };
        let mut tpm = one.open();
        let sealed = tpm.seal(b"secret").unwrap();
        assert!(matches!(other.open().unseal(&sealed), Err(Withheld::Stranger)));
        for at in (0..sealed.private.len()).step_by(16) {
            let mut altered = sealed.clone();
            altered.private[at] ^= 1;
            assert!(tpm.unseal(&altered).is_err(), "{at}");
        }
        assert!(tpm.seal(&[0; LARGEST + 1]).is_err(), "too large");
        assert_eq!(tpm.unseal(&sealed).unwrap().as_slice(), b"secret");
    }

    /// Bytes of each command, against the tables of Part 3.
    struct Recorded(Vec<u8>, std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Read for Recorded {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.as_slice().read(buffer)
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1.borrow_mut().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_register_is_read_as_part_3_has_it() {
        let mut answer =
            vec![0x80, 1, 0, 0, 0, 62, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0, 0, 0, 0, 1, 0, 32];
        answer.extend([0xab; 32]);
        let asked = std::rc::Rc::default();
        let mut tpm = Tpm::over(Recorded(answer.clone(), std::rc::Rc::clone(&asked)));
        assert_eq!(tpm.pcr().unwrap(), [0xab; 32]);
        let wanted = [0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0];
        assert_eq!(asked.borrow().as_slice(), wanted);
        // Whatever an answer is cut to, and one that is a refusal, is told and nothing else.
        for end in 0..answer.len() {
            let mut tpm = Tpm::over(Recorded(answer[..end].to_vec(), std::rc::Rc::default()));
            assert!(tpm.pcr().is_err(), "{end}");
        }
        let mut tpm = Tpm::over(Recorded(vec![0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1], std::rc::Rc::default()));
        assert_eq!(tpm.pcr().unwrap_err().0, "the TPM refuses: TPM_RC_FAILURE");
    }

    #[test]
    fn the_policy_is_computed_as_part_3_has_it() {
        let policy = policy(&[0; DIGEST]).unwrap();
        let mut expected = Sha256::new();
        expected.update([0; 32]);
        expected.update([0, 0, 1, 0x7f, 0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0]);
        expected.update(Sha256::digest([0; 32]));
        assert_eq!(*policy, *expected.finalize());
    }
}
