//! Draws a [`Model`]. What does not fit is cut at the right and at the bottom; nothing here fails for a small terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Cell, Paragraph, Row, Sparkline, Table, TableState, Tabs};

use super::model::{Column, Model, TABS, stream_key, streams, whole};
use crate::control::{ConversationStatus, StreamStatus};

/// From here on external control gives up: drawn as the limit of what is late.
const LIMIT_US: u64 = 20_000;

/// Draws everything at `now`, seconds since the start.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, now: f64) {
    let [head, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    draw_head(frame, head, model, now);
    let titles = TABS.iter().enumerate().map(|(at, name)| format!("{} {name}", at.saturating_add(1)));
    let bar = Tabs::new(titles).select(model.tab).highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_widget(bar, tabs);
    match model.tab {
        0 => draw_wire(frame, body, model),
        1 => draw_latency(frame, body, model),
        2 => draw_conversations(frame, body, model),
        _ => draw_feed(frame, body, model),
    }
    draw_keys(frame, foot, model);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model, now: f64) {
    let status = &model.status;
    let mut spans = vec![Span::raw(format!("vambrace {} on {}  ", status.version, status.host)).bold()];
    let until = status.mode_ends_in_seconds.map_or(String::new(), |seconds| format!(" for {seconds} s more"));
    spans.push(Span::raw(format!("mode {}{until}", status.mode)).fg(if status.mode == "enforce" {
        Color::Green
    } else {
        Color::Yellow
    }));
    let policy =
        status.policy.as_ref().map_or("no policy".to_owned(), |it| format!("policy generation {}", it.generation));
    spans.push(Span::raw(format!("  {policy}  up {}", time(status.uptime_seconds))));
    if let Some((why, since)) = &model.unreachable {
        let ago = whole(now - since);
        spans =
            vec![Span::raw(format!("NOT REACHABLE for {ago} s, below is what was seen last: {why}")).fg(Color::Red)];
    } else if status.bypassed {
        spans.push(Span::raw("  BYPASSED").fg(Color::Red).bold());
    } else if !status.degraded.is_empty() {
        spans.push(Span::raw(format!("  DEGRADED ({})", status.degraded.len())).fg(Color::Red).bold());
    }
    if model.frozen {
        spans.push(Span::raw("  FROZEN").fg(Color::Yellow).bold());
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let own = match model.tab {
        1 => "up/down choose a stream  ",
        2 => "s sort by next column  r reverse  up/down move  ",
        3 => "up/down scroll  ",
        _ => "",
    };
    let frozen = if model.frozen { "p go on" } else { "p freeze" };
    let keys = format!("q quit  1-4 tab  {own}{frozen}");
    frame.render_widget(Line::from(keys).style(Style::new().add_modifier(Modifier::DIM)), area);
}

fn draw_wire(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let status = &model.status;
    let ports = u16::try_from(status.ports.len()).unwrap_or(2).saturating_add(3);
    let [table, traffic, below] =
        Layout::vertical([Constraint::Length(ports), Constraint::Length(7), Constraint::Min(0)]).areas(area);
    let rows = status.ports.iter().zip(model.rates.ports).map(|(port, [received, sent])| {
        let link = if port.up { Cell::from("up").fg(Color::Green) } else { Cell::from("DOWN").fg(Color::Red) };
        let lost = Cell::from(port.kernel_drops.to_string());
        Row::new([
            Cell::from(port.role.clone()),
            Cell::from(port.name.clone()),
            link,
            Cell::from(per_second(received)),
            Cell::from(per_second(sent)),
            Cell::from(port.received.to_string()),
            Cell::from(port.sent.to_string()),
            if port.kernel_drops > 0 { lost.fg(Color::Red) } else { lost },
        ])
    });
    let widths = [6, 12, 5, 10, 10, 13, 13, 10].map(Constraint::Length);
    let head = Row::new(["port", "interface", "link", "in /s", "out /s", "received", "sent", "lost"]).bold();
    frame.render_widget(Table::new(rows, widths).header(head).block(Block::bordered().title("Ports")), table);

    let halves: [Rect; 2] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(traffic);
    for ((area, past), side) in halves.into_iter().zip(&model.frames).zip(["plant", "robot"]) {
        let title = format!("Frames a second that come in on the {side} port");
        spark(frame, area, past.iter().copied(), &title, None);
    }

    let traffic = &status.traffic;
    let rates = &model.rates;
    let mut lines = vec![
        Line::from(format!(
            "frames    {} taken, {} forwarded, {} dropped ({}/s)",
            traffic.frames,
            traffic.forwarded,
            traffic.dropped,
            per_second(rates.dropped)
        )),
        Line::from(format!(
            "commands  {} allowed ({}/s), {} refused ({}/s)",
            traffic.allowed,
            per_second(rates.allowed),
            traffic.refused,
            per_second(rates.refused)
        )),
        Line::from(format!("flows     {} of {}", traffic.flows, traffic.flow_room)),
    ];
    let mut reasons: Vec<_> = traffic.dropped_by.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    if !reasons.is_empty() {
        let reasons: Vec<_> = reasons.into_iter().take(6).map(|(reason, count)| format!("{reason} {count}")).collect();
        lines.push(Line::from(format!("dropped   {}", reasons.join(", "))));
    }
    let records = &status.records;
    let line = format!(
        "records   {} written, {} lost, {} of {} bytes",
        records.written, records.lost, records.bytes, records.budget
    );
    lines.push(if records.lost > 0 { Line::from(line).fg(Color::Red) } else { Line::from(line) });
    for robot in &status.robots {
        let age = robot.age_ms.map_or("never seen".to_owned(), |age| format!("{age} ms ago"));
        lines.push(Line::from(format!(
            "robot     {} {}: program {}, mode {}, safety {}, control {} ({age})",
            robot.name, robot.ip, robot.program, robot.robot_mode, robot.safety, robot.control
        )));
    }
    lines.extend(status.degraded.iter().map(|why| Line::from(format!("DEGRADED  {why}")).fg(Color::Red)));
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("The box")), below);
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let status = &model.status;
    let all: Vec<_> = streams(status).collect();
    let [table, below] = Layout::vertical([Constraint::Min(5), Constraint::Length(9)]).areas(area);
    let traffic = &status.traffic;
    let title = format!(
        "Periodic streams; all frames in the box: {:.0} us median, {:.0} us at 99 %, {:.0} us at most",
        traffic.p50_us, traffic.p99_us, traffic.longest_us
    );
    let head = Row::new([
        "from", "to", "service", "every", "in p50", "in p99", "in most", "out p99", "out most", "box p99", "box most",
        "late",
    ]);
    let widths = [12, 12, 10, 8, 8, 8, 8, 8, 8, 8, 8].map(Constraint::Length).into_iter().chain([Constraint::Min(10)]);
    let rows = all.iter().map(|(conversation, stream)| stream_row(conversation, stream));
    let block = Block::bordered().title(title);
    if all.is_empty() {
        let text = "No stream with a period yet: RTDE, set-points and Modbus cycles show here after 32 beats.";
        frame.render_widget(Paragraph::new(text).block(block), table);
    } else {
        let highlight = Style::new().add_modifier(Modifier::REVERSED);
        let table_of = Table::new(rows, widths).header(head.bold()).block(block).row_highlight_style(highlight);
        let mut state =
            TableState::new().with_selected(model.rows.get(1).copied().unwrap_or(0).min(all.len().saturating_sub(1)));
        frame.render_stateful_widget(table_of, table, &mut state);
    }
    let [worst, doors] = Layout::horizontal([Constraint::Fill(2), Constraint::Fill(1)]).areas(below);
    let chosen = all.get(model.rows.get(1).copied().unwrap_or(0)).or_else(|| all.last());
    let (past, title) = match chosen {
        Some((conversation, stream)) => {
            let past = model.worst.get(&stream_key(conversation, stream));
            let title = format!(
                // Where set-points are given up.
                "Longest gap each second of 20 ms, {} {}: {} now",
                from_to(conversation, stream).join(" -> "),
                conversation.service,
                milli(stream.worst_us)
            );
            (past, title)
        }
        None => (None, "Longest gap each second".to_owned()),
    };
    spark(frame, worst, past.into_iter().flatten().copied(), &title, Some(LIMIT_US));
    let doors_of: Vec<_> =
        status.late.iter().map(|(whose, count)| Bar::default().label(whose.clone()).value(*count)).collect();
    let chart = BarChart::default()
        .block(Block::bordered().title(format!("Late, by whose; {} alarms", status.late_alarms)))
        .data(BarGroup::default().bars(&doors_of))
        .bar_width(7)
        .bar_gap(1)
        .bar_style(Style::new().fg(Color::Yellow));
    frame.render_widget(chart, doors);
}

fn stream_row<'a>(conversation: &'a ConversationStatus, stream: &'a StreamStatus) -> Row<'a> {
    let [from, to] = from_to(conversation, stream);
    let late: Vec<_> = stream.late.iter().map(|(whose, count)| format!("{whose} {count}")).collect();
    let (entry, exit, inside) = (&stream.entry, &stream.exit, &stream.in_the_box);
    let late = if late.is_empty() { Cell::from("-") } else { Cell::from(late.join(", ")).fg(Color::Yellow) };
    let micro = |us: f64| Cell::from(format!("{us:.0} us"));
    Row::new([
        Cell::from(from),
        Cell::from(to),
        Cell::from(conversation.service.as_str()),
        Cell::from(milli(stream.period_us)),
        Cell::from(milli(entry.p50_us)),
        Cell::from(milli(entry.p99_us)),
        Cell::from(milli(entry.longest_us)),
        Cell::from(milli(exit.p99_us)),
        Cell::from(milli(exit.longest_us)),
        micro(inside.p99_us),
        micro(inside.longest_us),
        late,
    ])
}

fn from_to<'a>(conversation: &'a ConversationStatus, stream: &StreamStatus) -> [&'a str; 2] {
    let (client, robot) = (conversation.client_name.as_str(), conversation.robot_name.as_str());
    if stream.toward == "robot" { [client, robot] } else { [robot, client] }
}

fn draw_conversations(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let all = model.conversations();
    let order = if model.reversed { "^" } else { "v" };
    let heading = |name: &str, column: Option<Column>| {
        if column == Some(model.column) { Cell::from(format!("{name} {order}")) } else { Cell::from(name.to_owned()) }
    };
    let head = Row::new([
        heading(Column::Client.name(), Some(Column::Client)),
        heading("port", None),
        heading("robot side", None),
        heading("service", None),
        heading(Column::Age.name(), Some(Column::Age)),
        heading(Column::Latest.name(), Some(Column::Latest)),
        heading(Column::Frames.name(), Some(Column::Frames)),
        heading(Column::Bytes.name(), Some(Column::Bytes)),
        heading("allowed", None),
        heading(Column::Refused.name(), Some(Column::Refused)),
    ]);
    let port = |end: &str| end.rsplit(':').next().unwrap_or_default().to_owned();
    let rows = all.iter().map(|it| {
        let [allowed, refused] = it.commands;
        let refusals = Cell::from(refused.to_string());
        let sum = |[one, other]: [u64; 2]| one.saturating_add(other);
        Row::new([
            Cell::from(it.client_name.clone()),
            Cell::from(port(&it.client)),
            Cell::from(format!("{}:{}", it.robot_name, port(&it.robot))),
            Cell::from(it.service.clone()),
            Cell::from(time(it.age_seconds)),
            Cell::from(if it.silent_ms < 1000 { format!("{} ms", it.silent_ms) } else { time(it.silent_ms / 1000) }),
            Cell::from(sum(it.frames).to_string()),
            Cell::from(sum(it.bytes).to_string()),
            Cell::from(allowed.to_string()),
            if refused > 0 { refusals.fg(Color::Red) } else { refusals },
        ])
    });
    let widths = [16, 7, 22, 16, 9, 10, 12, 14, 10, 10].map(Constraint::Length);
    let title =
        format!("The {} conversations that brought something last, of {}", all.len(), model.status.traffic.flows);
    let table = Table::new(rows, widths)
        .header(head.bold())
        .block(Block::bordered().title(title))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let row = model.rows.get(2).copied().unwrap_or(0).min(all.len().saturating_sub(1));
    let mut state = TableState::new().with_selected((!all.is_empty()).then_some(row));
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_feed(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let title = match &model.no_events {
        Some(why) => Line::from(format!("Events can't be read: {why}")).fg(Color::Red),
        None => Line::from("Refusals and alarms since top began, latest first"),
    };
    let from = model.rows.get(3).copied().unwrap_or(0);
    let height = usize::from(area.height);
    let lines: Vec<_> = model
        .feed
        .iter()
        .skip(from)
        .take(height)
        .map(|line| Line::from(line.text.as_str()).fg(if line.refused { Color::Red } else { Color::Yellow }))
        .collect();
    let lines = if lines.is_empty() { vec![Line::from("None yet.")] } else { lines };
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
}

/// As many of the latest values as there are columns.
fn spark(frame: &mut Frame<'_>, area: Rect, past: impl Iterator<Item = u64>, title: &str, most: Option<u64>) {
    let block = Block::bordered().title(title.to_owned());
    let columns = usize::from(block.inner(area).width);
    let all: Vec<u64> = past.collect();
    let latest = all.get(all.len().saturating_sub(columns)..).unwrap_or_default();
    let highest = latest.iter().copied().max().unwrap_or(0);
    let colour = match most {
        Some(limit) if highest >= limit / 2 => Color::Red,
        _ => Color::Cyan,
    };
    let line = Sparkline::default().block(block).data(latest).style(Style::new().fg(colour));
    let line = match most {
        Some(most) => line.max(most),
        None => line.max(highest.max(1)),
    };
    frame.render_widget(line, area);
}

fn milli(us: f64) -> String {
    format!("{:.2} ms", us / 1e3)
}

fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn time(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (minutes, hours) {
        (0, _) => format!("{seconds} s"),
        (_, 0) => format!("{minutes}m{:02}s", seconds % 60),
        _ if hours < 48 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{} days", hours / 24),
    }
}
