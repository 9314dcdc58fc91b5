//! Writing packages and records: test traffic, an emulated controller.
//!
//! Every function writes one whole unit to the start of `buffer` and returns its length, or nothing where the buffer is too
//! small or a field can't be written in its length; the buffer then holds no unit.

use crate::message::FIRST_CHARACTER;
use crate::package::HEADER;
use crate::record::{COLUMN, LENGTH, column};
use crate::state::{BEFORE_SAFETY, MASTERBOARD, ROBOT_MODE};
use crate::{
    Layout, Message, Package, PackageType, Program, RobotMode, RobotModeData, SafetyMode, Said, SubPackage, Version,
};

/// A flag that is none.
const NO_FLAG: u8 = 2;
/// A mode that no table has.
const NO_MODE: i8 = i8::MIN;

impl Package<'_> {
    /// Writes it; returns its length.
    #[must_use]
    pub fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::package(self.kind, buffer)?;
        writer.put(self.body)?;
        writer.finish()
    }
}

/// A robot state of these parts.
pub fn robot_state<'p>(parts: impl IntoIterator<Item = SubPackage<'p>>, buffer: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::package(PackageType::ROBOT_STATE, buffer)?;
    for part in parts {
        let len = u32::try_from(part.data.len().checked_add(HEADER)?).ok()?;
        writer.put(&len.to_be_bytes())?;
        writer.put(&[part.kind])?;
        writer.put(part.data)?;
    }
    writer.finish()
}

/// The data of a robot mode of `len` bytes with its head (38, 46, or 47 and more), which is written to `data`.
pub fn robot_mode<'b>(mode: &RobotModeData, len: usize, data: &'b mut [u8]) -> Option<SubPackage<'b>> {
    if !RobotModeData::is_known(len) {
        return None;
    }
    let data = data.get_mut(..len.checked_sub(HEADER)?)?;
    data.fill(0);
    let mut writer = Writer { buffer: data, len: 0 };
    writer.put(&mode.timestamp_us.to_be_bytes())?;
    let flags = [
        mode.real_robot_connected,
        mode.real_robot_enabled,
        mode.power_on,
        mode.emergency_stopped,
        mode.protective_stopped,
        mode.program_running,
        mode.program_paused,
    ];
    writer.put(&flags.map(|flag| flag.map_or(NO_FLAG, u8::from)))?;
    writer.put(&mode.robot_mode.map_or(NO_MODE, RobotMode::number).to_be_bytes())?;
    writer.put(&[mode.control_mode.map_or(u8::MAX, |mode| mode as u8)])?;
    Some(SubPackage { kind: ROBOT_MODE, data })
}

/// The data of a masterboard that says this mode, which is written to `data`.
pub fn masterboard(mode: Option<SafetyMode>, data: &mut [u8; BEFORE_SAFETY + 10]) -> SubPackage<'_> {
    data.fill(0);
    if let Some(slot) = data.get_mut(BEFORE_SAFETY) {
        let [byte] = mode.map_or(NO_MODE, SafetyMode::number).to_be_bytes();
        *slot = byte;
    }
    SubPackage { kind: MASTERBOARD, data }
}

impl Message<'_> {
    /// Writes it in the newer layout of its type, or in the older one where a field of the newer is absent; returns its
    /// length. Nothing where a title or a name is longer than 255 bytes, or a build is above half a billion.
    #[must_use]
    pub fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::package(PackageType::ROBOT_MESSAGE, buffer)?;
        writer.put(&self.timestamp_us.to_be_bytes())?;
        writer.put(&self.source.to_be_bytes())?;
        writer.put(&[self.said.kind()])?;
        match self.said {
            Said::Text(text) => writer.put(text)?,
            Said::ProgramLabel { id, text } => {
                writer.put(&id.to_be_bytes())?;
                writer.put(text)?;
            }
            Said::Popup { warning: Some(warning), error: Some(error), title, text } => {
                // No question: number 0, type 8 "none"; not blocking.
                writer.put(&[0, 0, 0, 0, 8, warning.into(), error.into(), 0])?;
                writer.titled(title)?;
                writer.put(text)?;
            }
            Said::Popup { text, .. } => writer.put(text)?,
            Said::Version(version) => writer.version(&version)?,
            Said::SafetyMode { code, argument, mode } => {
                writer.put(&code.to_be_bytes())?;
                writer.put(&argument.to_be_bytes())?;
                writer.put(&mode.map_or(NO_MODE, SafetyMode::number).to_be_bytes())?;
                // No data: type 0, value 0.
                writer.put(&[0; 8])?;
            }
            Said::ErrorCode { code, argument, level, text } => {
                writer.put(&code.to_be_bytes())?;
                writer.put(&argument.to_be_bytes())?;
                if let Some(level) = level {
                    writer.put(&u32::from(level).to_be_bytes())?;
                    writer.put(&[0; 8])?;
                }
                writer.put(text)?;
            }
            Said::Key { code, argument, title, text } => {
                writer.put(&code.to_be_bytes())?;
                writer.put(&argument.to_be_bytes())?;
                writer.titled(title)?;
                writer.put(text)?;
            }
            Said::RequestValue { id, value_type, text } => {
                writer.put(&id.to_be_bytes())?;
                writer.put(&value_type.to_be_bytes())?;
                writer.put(text)?;
            }
            Said::RuntimeException { line, column, text } => {
                writer.put(&line.to_be_bytes())?;
                writer.put(&column.to_be_bytes())?;
                writer.put(text)?;
            }
            Said::Other { body, .. } => writer.put(body)?,
        }
        writer.finish()
    }
}

/// What a realtime record says, as far as it is read here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Columns {
    /// Time since the controller started, in seconds.
    pub time_s: f64,
    /// Robot mode; absent = a number that is none.
    pub robot_mode: Option<RobotMode>,
    /// Safety mode.
    pub safety_mode: Option<SafetyMode>,
    /// Program state, from 3.2 on.
    pub program: Option<Program>,
    /// Safety status, from 3.10 on.
    pub safety_status: Option<SafetyMode>,
}

/// A record of this layout; every column that is not named is 0.
pub fn record(layout: Layout, columns: &Columns, buffer: &mut [u8]) -> Option<usize> {
    let len = layout.record_len();
    let record = buffer.get_mut(..len)?;
    record.fill(0);
    let (length, doubles) = record.split_first_chunk_mut::<LENGTH>()?;
    *length = u32::try_from(len).ok()?.to_be_bytes();
    let doubles: &mut [[u8; COLUMN]] = doubles.as_chunks_mut().0;
    let mut set = |number: usize, value: f64| {
        if let Some(slot) = number.checked_sub(1).and_then(|at| doubles.get_mut(at)) {
            *slot = value.to_be_bytes();
        }
    };
    let number = |number: Option<i8>| number.map_or(f64::NAN, f64::from);
    set(1, columns.time_s);
    set(column::ROBOT_MODE, number(columns.robot_mode.map(RobotMode::number)));
    set(column::SAFETY_MODE, number(columns.safety_mode.map(SafetyMode::number)));
    set(column::PROGRAM, columns.program.map_or(f64::NAN, |program| f64::from(program as u8)));
    set(column::SAFETY_STATUS, number(columns.safety_status.map(SafetyMode::number)));
    Some(len)
}

struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    /// Begins a package, whose length is written at the end.
    fn package(kind: PackageType, buffer: &'b mut [u8]) -> Option<Self> {
        let mut writer = Self { buffer, len: 0 };
        writer.put(&[0; LENGTH])?;
        writer.put(&kind.0.to_be_bytes())?;
        Some(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buffer.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    /// A text with its length in a byte.
    fn titled(&mut self, text: &[u8]) -> Option<()> {
        self.put(&[u8::try_from(text.len()).ok()?])?;
        self.put(text)
    }

    fn version(&mut self, version: &Version<'_>) -> Option<()> {
        self.titled(version.project)?;
        self.put(&[version.major, version.minor])?;
        self.put(&version.bugfix.to_be_bytes())?;
        if let Some(build) = version.build {
            let bytes = build.to_be_bytes();
            // It would be read as the date of the older layout.
            bytes.first().filter(|first| **first < FIRST_CHARACTER)?;
            self.put(&bytes)?;
        }
        self.put(version.date)
    }

    fn finish(self) -> Option<usize> {
        if self.len > crate::MAX_PACKAGE {
            return None;
        }
        let length = u32::try_from(self.len).ok()?;
        *self.buffer.first_chunk_mut()? = length.to_be_bytes();
        Some(self.len)
    }
}
