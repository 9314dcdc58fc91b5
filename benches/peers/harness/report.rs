//! Tables and JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;
use vambrace::bench::{Machine, median};

use super::Load;
use super::ways::Way;

/// The way that all are compared with.
pub const BASE: &str = "kernel bridge";

/// All figures of a run.
pub struct Report {
    machine: Machine,
    tables: Vec<Table>,
    absent: BTreeMap<String, String>,
    /// Most memory of each way, bytes.
    memory: BTreeMap<String, u64>,
    /// Events of each way that were written and lost, over all rounds.
    records: BTreeMap<String, [u64; 2]>,
}

/// Those of one load.
struct Table {
    load: Load,
    columns: Vec<String>,
    /// A way's name and a list of figures for each round.
    rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Load {
    fn title(self) -> &'static str {
        match self {
            Self::RoundTrip => "Modbus round trip, one after the other, us",
            Self::Paced => "Modbus round trip at 2,000 a second, from the intended time, us",
            Self::Behind => "Modbus round trip behind a burst of 64 datagrams of 512 bytes, us",
            Self::K16 => "16 Modbus connections: exchanges a second; time of one, us",
            Self::Stream => {
                "RTDE at 500 Hz (in: toward the robot) beside Modbus at 4,000/s: jitter and latest, us; gaps > 20 ms"
            }
            Self::Flood => "UDP flood, frames received, thousands a second, by bytes on the wire",
            Self::Lossless => "highest rate with at most 0.1 % lost, thousands a second, by bytes on the wire",
            Self::Churn => "connections opened, used once and closed: 1/s; time of one, us; failed",
            Self::Offline => "the same capture offline, thousand frames a second, the start of programs not counted",
        }
    }

    /// Columns that are shown as ratios to the bridge too.
    fn compared(self) -> &'static [&'static str] {
        match self {
            Self::RoundTrip | Self::Paced | Self::Behind => &["p50", "p99"],
            Self::K16 | Self::Churn => &["1/s"],
            Self::Stream => &["in p99", "out p99"],
            Self::Flood | Self::Lossless => &["64", "1514"],
            Self::Offline => &[],
        }
    }
}

impl Report {
    pub fn new(machine: Machine) -> Self {
        Self { machine, tables: Vec::new(), absent: BTreeMap::new(), memory: BTreeMap::new(), records: BTreeMap::new() }
    }

    pub fn add(&mut self, load: Load, way: &str, figures: Vec<(String, f64)>) {
        let (columns, figures): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
        let at = self.tables.iter().position(|table| table.load == load).unwrap_or_else(|| {
            self.tables.push(Table { load, columns: columns.clone(), rows: Vec::new() });
            self.tables.len() - 1
        });
        let table = &mut self.tables[at];
        assert_eq!(table.columns, columns, "every way has the same columns");
        match table.rows.iter_mut().find(|(name, _)| name == way) {
            Some((_, rounds)) => rounds.push(figures),
            None => table.rows.push((way.to_owned(), vec![figures])),
        }
    }

    /// A round without figures: it keeps its place, so that ratios stay those of one round.
    pub fn failed(&mut self, load: Load, way: &str, round: usize, why: &str) {
        self.absent.insert(format!("{load:?} through {way}, round {}", round + 1), why.to_owned());
        if let Some(table) = self.tables.iter().find(|table| table.load == load) {
            let nothing = table.columns.iter().map(|name| (name.clone(), f64::NAN)).collect();
            self.add(load, way, nothing);
        }
    }

    pub fn absent(&mut self, way: &str, why: &str) {
        self.absent.insert(way.to_owned(), why.to_owned());
    }

    pub fn is_absent(&self, way: &str) -> bool {
        self.absent.contains_key(way)
    }

    pub fn memory(&mut self, way: &str, bytes: u64) {
        let most = self.memory.entry(way.to_owned()).or_default();
        *most = bytes.max(*most);
    }

    pub fn records(&mut self, way: &str, [written, lost]: [u64; 2]) {
        let all = self.records.entry(way.to_owned()).or_default();
        *all = [all[0] + written, all[1] + lost];
    }

    /// The median over rounds of one figure, for tests.
    pub fn figure(&self, load: Load, way: &str, column: &str) -> Option<f64> {
        median(self.rounds(load, way, column)?)
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            let rounds = table.rows.first().map_or(0, |(_, rounds)| rounds.len());
            let _ = writeln!(out, "\n{} (medians of {rounds})", table.load.title());
            let mut heading = format!("{:<28}", "");
            table.columns.iter().for_each(|name| heading += &format!(" {name:>10}"));
            table.load.compared().iter().for_each(|name| heading += &format!(" {:>14}", format!("{name}/bridge")));
            let _ = writeln!(out, "{}", heading.trim_end());
            let base = table.rows.iter().find(|(name, _)| name == BASE).map(|(_, rounds)| rounds);
            for (name, rounds) in &table.rows {
                let mut line = format!("{name:<28}");
                for at in 0..table.columns.len() {
                    line +=
                        &format!(" {:>10}", rounded(median(rounds.iter().map(|round| round[at])).unwrap_or(f64::NAN)));
                }
                for compared in table.load.compared() {
                    let at = table.columns.iter().position(|column| column == compared).unwrap();
                    let ratios = base.into_iter().flatten().zip(rounds).map(|(base, own)| own[at] / base[at]);
                    let ratio = median(ratios).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
                    line += &format!(" {ratio:>14}");
                }
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
        let _ = writeln!(out);
        for (way, bytes) in &self.memory {
            let _ = writeln!(out, "memory of {way}: {:.0} MiB at most", *bytes as f64 / f64::from(1 << 20));
        }
        for (way, [written, lost]) in &self.records {
            let _ = writeln!(out, "records of {way}: {written} written, {lost} lost");
        }
        let _ = writeln!(out, "\nspecification (ratios: medians of each round's)");
        for promise in self.promises() {
            let measured = promise.measured.map_or("-".to_owned(), |figure| format!("{figure:.2}"));
            let _ = writeln!(out, "{:<4} {:<64} {measured:>8}  {}", promise.id, promise.what, promise.verdict());
        }
        let _ = writeln!(out);
        for (way, why) in &self.absent {
            let _ = writeln!(out, "not measured: {way}: {why}");
        }
        out
    }

    /// The figures of a way, round by round.
    fn rounds(&self, load: Load, way: &str, column: &str) -> Option<Vec<f64>> {
        let table = self.tables.iter().find(|table| table.load == load)?;
        let at = table.columns.iter().position(|name| name == column)?;
        let (_, rounds) = table.rows.iter().find(|(name, _)| name == way)?;
        Some(rounds.iter().map(|round| round[at]).collect())
    }

    /// The median of each round's ratio of one way to another.
    pub fn ratio(&self, load: Load, way: &str, to: &str, column: &str) -> Option<f64> {
        let (own, base) = (self.rounds(load, way, column)?, self.rounds(load, to, column)?);
        median(own.iter().zip(&base).map(|(own, base)| own / base))
    }

    /// What the specification promises, beside what was measured.
    pub fn promises(&self) -> Vec<Promise> {
        use Load::{Flood, K16, Offline, RoundTrip, Stream};
        let (busy, blocking) = (Way::Busy.name(), Way::Blocking.name());
        let (rules, log) = (Way::Suricata.name(), Way::SuricataLog.name());
        // Nothing that stands in a cable is faster than the cable, and nothing that polls has less jitter than what only
        // polls: what of a figure is the machine's.
        let (wire, forwarder) = (Way::Wire.name(), Way::Forwarder.name());
        let (engine, offline) = ("vambrace engine in process".to_owned(), rules.clone() + ", rules");
        let at_most = |figure: f64| Some((figure, true));
        let at_least = |figure: f64| Some((figure, false));
        let ratios = [
            ("S3", RoundTrip, &busy, BASE, "p50", at_most(2.5)),
            ("S3", RoundTrip, &busy, BASE, "p99", at_most(2.8)),
            ("S4", RoundTrip, &busy, &rules, "p50", at_most(0.17)),
            ("S4", RoundTrip, &busy, &rules, "p99", at_most(0.12)),
            ("S4", RoundTrip, &blocking, &rules, "p50", None),
            ("S4", RoundTrip, &blocking, &rules, "p99", None),
            ("S4", RoundTrip, &wire, &rules, "p50", None),
            ("S4", RoundTrip, &wire, &rules, "p99", None),
            ("S5", Flood, &busy, BASE, "64", at_least(0.95)),
            ("S5", Flood, &busy, BASE, "1514", at_least(0.8)),
            ("S5", K16, &busy, BASE, "1/s", at_least(0.77)),
            ("S5", K16, &busy, &rules, "1/s", at_least(1.7)),
            ("S5", K16, &busy, &log, "1/s", at_least(2.9)),
            ("S5", K16, &wire, &rules, "1/s", None),
            ("S6", Offline, &engine, &offline, "k/s", at_least(9.0)),
            ("S8", Stream, &busy, BASE, "in p99", at_most(3.0)),
            ("S8", Stream, &busy, BASE, "out p99", at_most(3.0)),
            ("S8", Stream, &forwarder, BASE, "in p99", None),
            ("S8", Stream, &forwarder, BASE, "out p99", None),
        ];
        let mut all: Vec<_> = ratios
            .into_iter()
            .map(|(id, load, way, to, column, promised)| Promise {
                id,
                what: format!("{load:?} {column}, {way} / {to}"),
                measured: self.ratio(load, way, to, column),
                promised,
            })
            .collect();
        let gaps =
            ["in gaps", "out gaps"].map(|column| self.rounds(Stream, &busy, column).map(|all| all.iter().sum::<f64>()));
        let [into, out] = gaps;
        let measured = into.zip(out).map(|(into, out)| into + out);
        all.push(Promise {
            id: "S8",
            what: format!("gaps above 20 ms, {busy}, all rounds"),
            measured,
            promised: at_most(0.0),
        });
        let measured = self.memory.get(&busy).map(|bytes| *bytes as f64 / f64::from(1 << 20));
        all.push(Promise { id: "S9", what: format!("memory, {busy}, MiB"), measured, promised: at_most(128.0) });
        all
    }

    pub fn json(&self) -> String {
        let Machine { processor, cores, kernel, load } = &self.machine;
        let tables = self.tables.iter().map(|table| {
            let rows = table.rows.iter().map(|(way, rounds)| json!({ "way": way, "rounds": rounds }));
            json!({
                "load": table.load.title(), "columns": table.columns, "rows": rows.collect::<Vec<_>>(),
            })
        });
        let told = json!({
            "machine": { "processor": processor, "cores": cores, "kernel": kernel, "load": load },
            "specification": self.promises().iter().map(|it| json!({
                "id": it.id, "what": it.what, "measured": it.measured, "verdict": it.verdict(),
            })).collect::<Vec<_>>(),
            "tables": tables.collect::<Vec<_>>(), "memory": self.memory, "records": self.records, "absent": self.absent,
        });
        told.to_string() + "\n"
    }
}

/// One line of the specification.
pub struct Promise {
    pub id: &'static str,
    pub what: String,
    /// Absent where a way or load was not measured.
    pub measured: Option<f64>,
    /// The figure, and whether it is one that must not be exceeded; absent where nothing is promised.
    pub promised: Option<(f64, bool)>,
}

impl Promise {
    fn verdict(&self) -> String {
        match (self.measured, self.promised) {
            (None, _) => "not measured".to_owned(),
            (Some(_), None) => "for the record".to_owned(),
            (Some(measured), Some((figure, true))) => {
                format!("at most {figure}: {}", if measured <= figure { "held" } else { "MISSED" })
            }
            (Some(measured), Some((figure, false))) => {
                format!("at least {figure}: {}", if measured >= figure { "held" } else { "MISSED" })
            }
        }
    }
}

/// Three digits that mean something.
fn rounded(figure: f64) -> String {
    match figure.abs() {
        nothing if nothing.is_nan() => "-".to_owned(),
        big if big >= 100.0 || big == 0.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
