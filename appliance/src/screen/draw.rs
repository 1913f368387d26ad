//! Facts and view to characters: pure, for 80 columns by 24 lines and more,
//! sixteen colours.

use ashlar_api::event::Severity;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::facts::Facts;
use super::form::{EXAMPLES, Form, LABELS};
use super::plain;
use super::view::{Confirm, Typed, View};

const ACCENT: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const QUIET: Style = Style::new().fg(Color::DarkGray);
const PAPER: Style = Style::new().fg(Color::Black).bg(Color::White);

/// Draws the whole screen. `time` is the time of day, as text.
pub fn draw(frame: &mut Frame<'_>, facts: &Facts, view: &View, time: &str) {
    let [head, _, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(inset(frame.area()));
    header(frame, head, facts, time);
    match view {
        View::Summary => summary(frame, body, facts),
        View::Network(form) => network(frame, body, facts, form),
        View::Drives => drives(frame, body, facts),
        View::Log => log(frame, body, facts),
        View::Faults => faults(frame, body, facts),
        View::Aside(typed) => aside(frame, body, facts, typed),
        View::Power(confirm) => power(frame, body, *confirm),
    }
    frame.render_widget(Paragraph::new(keys(facts)), foot);
}

fn keys(facts: &Facts) -> String {
    match (facts.stateless, &facts.aside) {
        (false, _) => {
            "F1 Summary  F2 Network  F3 Drives  F4 Log  F5 Faults  F10 Restart, power off"
                .to_owned()
        }
        (true, None) => "F1 Summary  F4 Log  F5 Faults  F10 Restart, power off".to_owned(),
        (true, Some(file)) => {
            format!("F1 Summary  F4 Log  F5 Faults  F8 Set {file} aside  F10 Restart, power off")
        }
    }
}

fn inset(area: Rect) -> Rect {
    let x = if area.width > 78 { 2 } else { 0 };
    Rect {
        x: area.x + x,
        width: area.width.saturating_sub(2 * x),
        ..area
    }
}

fn colour(severity: Severity) -> Color {
    match severity {
        Severity::Critical => Color::LightRed,
        Severity::Warning => Color::Yellow,
        Severity::Info => Color::Gray,
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, facts: &Facts, time: &str) {
    let [left, right] =
        Layout::horizontal([Constraint::Min(20), Constraint::Length(12)]).areas(area);
    let worst = facts.faults.iter().map(|fault| fault.severity).max();
    let health = Style::new().fg(worst.map_or(Color::Green, colour));
    let line = Line::from(vec![
        Span::styled(format!("Ashlar {}", facts.version), ACCENT),
        Span::raw(format!("   {}   ", facts.node)),
        Span::styled(facts.health(), health),
    ]);
    frame.render_widget(Paragraph::new(line), left);
    frame.render_widget(Paragraph::new(time.to_owned()).right_aligned(), right);
}

fn pair<'a>(label: &'a str, value: impl Into<Span<'a>>) -> Line<'a> {
    Line::from(vec![Span::raw(format!("{label:<18}")), value.into()])
}

fn summary(frame: &mut Frame<'_>, area: Rect, facts: &Facts) {
    let picture = plain::picture(facts)
        .filter(|rows| area.width >= 76 && area.height as usize > rows.len() + 3);
    let mut lines = Vec::new();
    if facts.stateless {
        let stories: Vec<Line<'_>> = stories(facts);
        frame.render_widget(Paragraph::new(stories).wrap(Wrap { trim: false }), area);
        return;
    }
    match facts.urls.as_slice() {
        [] => lines.push(pair("Open in a browser", "no address yet")),
        [first, more @ ..] => {
            let mut line = pair("Open in a browser", Span::styled(first.as_str(), ACCENT));
            for url in more.iter().take(1) {
                line.push_span(format!("   {url}"));
            }
            lines.push(line);
        }
    }
    // The whole fingerprint: a shortened one can not be compared.
    let half = facts.fingerprint.len().div_ceil(2);
    let (one, two) = facts
        .fingerprint
        .split_at_checked(half)
        .unwrap_or((&facts.fingerprint, ""));
    lines.push(pair("Certificate", format!("SHA-256 {one}")));
    if !two.is_empty() {
        lines.push(pair("", format!("        {two}")));
    }
    if let Some(code) = &facts.claim_code {
        lines.push(pair("Claim code", Span::styled(code.as_str(), ACCENT)));
    }
    let top = u16::try_from(lines.len()).unwrap_or(4) + 1;
    let [upper, lower] =
        Layout::vertical([Constraint::Length(top), Constraint::Min(1)]).areas(area);
    frame.render_widget(Paragraph::new(lines), upper);
    let side = picture.as_ref().map_or(0, |rows| {
        rows.first().map_or(0, |row| row.chars().count()) + 4
    });
    let [left, right] = Layout::horizontal([
        Constraint::Min(30),
        Constraint::Length(u16::try_from(side).unwrap_or(0)),
    ])
    .areas(lower);
    if let Some(rows) = picture {
        let rows: Vec<Line<'_>> = rows
            .into_iter()
            .map(|row| Line::styled(format!(" {row} "), PAPER))
            .collect();
        frame.render_widget(Paragraph::new(rows), right);
    }
    let mut lines = vec![
        pair("Processor", facts.processor.as_str()),
        pair("Memory", facts.memory.as_str()),
        pair("Storage", facts.storage.as_str()),
        pair("Network", facts.network.as_str()),
        pair("Machines", facts.machines.as_str()),
        Line::default(),
    ];
    for fault in facts.faults.iter().take(3) {
        lines.push(Line::styled(
            format!("! {}", fault.title),
            Style::new().fg(colour(fault.severity)),
        ));
        if !fault.remedy.is_empty() {
            lines.push(Line::raw(format!("  {}", fault.remedy)));
        }
    }
    let newest = facts.log.len().saturating_sub(3);
    lines.extend(
        facts.log[newest..]
            .iter()
            .map(|line| Line::styled(line.as_str(), QUIET)),
    );
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), left);
}

fn network(frame: &mut Frame<'_>, area: Rect, facts: &Facts, form: &Form) {
    let focus = |row: usize| {
        if form.row == row {
            ACCENT
        } else {
            Style::new()
        }
    };
    let mut lines = vec![Line::styled("Interfaces", ACCENT)];
    lines.extend(facts.links.iter().map(|link| {
        Line::raw(format!(
            "  {:<12} {:<19} {}",
            link.name, link.mac, link.state
        ))
    }));
    if facts.links.is_empty() {
        lines.push(Line::raw(
            "  none found: plug in a network card, or look whether Linux supports it",
        ));
    }
    lines.push(Line::default());
    lines.push(Line::styled("Management address", ACCENT));
    let method = if form.dhcp {
        "< from a DHCP server >"
    } else {
        "< as given here >"
    };
    let interface = form.interface().unwrap_or("first that is alive");
    lines.push(Line::from(vec![
        Span::raw(format!("  {:<16}", "Interface")),
        Span::styled(format!("< {interface} >"), focus(0)),
    ]));
    lines.push(Line::from(vec![
        Span::raw(format!("  {:<16}", "Comes")),
        Span::styled(method, focus(1)),
    ]));
    if !form.dhcp {
        for (row, text) in form.texts.iter().enumerate() {
            let shown = if text.is_empty() {
                Span::styled(EXAMPLES[row], QUIET)
            } else {
                Span::styled(text.as_str(), focus(row + 2))
            };
            let mark = if form.row == row + 2 { ">" } else { " " };
            lines.push(Line::from(vec![
                Span::raw(format!("{mark} {:<16}", LABELS[row])),
                shown,
            ]));
        }
    }
    lines.push(Line::default());
    if form.error.is_empty() {
        lines.push(Line::styled(
            "Arrows choose, Enter applies, Esc leaves things as they are.",
            QUIET,
        ));
    } else {
        lines.push(Line::styled(
            form.error.as_str(),
            Style::new().fg(Color::Yellow),
        ));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

fn drives(frame: &mut Frame<'_>, area: Rect, facts: &Facts) {
    let mut lines = vec![Line::styled("Drives", ACCENT)];
    lines.extend(facts.drives.iter().map(|drive| {
        Line::raw(format!(
            "  {:<10} {:<34} {}",
            drive.name, drive.model, drive.usage
        ))
    }));
    if facts.drives.is_empty() {
        lines.push(Line::raw("  none found"));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn log(frame: &mut Frame<'_>, area: Rect, facts: &Facts) {
    let first = facts.log.len().saturating_sub(area.height.into());
    let lines: Vec<Line<'_>> = facts.log[first..]
        .iter()
        .map(|line| Line::raw(line.as_str()))
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// Every fault in full.
fn stories(facts: &Facts) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for fault in &facts.faults {
        let mut said = plain::story(fault).into_iter();
        let title = Style::new().fg(colour(fault.severity));
        lines.extend(said.next().map(|text| Line::styled(text, title)));
        lines.extend(said.map(Line::raw));
        lines.push(Line::default());
    }
    lines
}

fn faults(frame: &mut Frame<'_>, area: Rect, facts: &Facts) {
    let mut lines = stories(facts);
    if lines.is_empty() {
        lines.push(Line::raw("Nothing is wrong."));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

fn aside(frame: &mut Frame<'_>, area: Rect, facts: &Facts, typed: &Typed) {
    let Some(file) = &facts.aside else { return };
    let mut lines = vec![
        Line::styled(format!("Set {file} aside"), ACCENT),
        Line::default(),
    ];
    lines.extend(stories(facts));
    lines.push(Line::raw(format!(
        "{file} is kept under another name, and the node goes on without it. Virtual machines are not touched."
    )));
    lines.push(Line::default());
    lines.push(Line::from(vec![
        Span::raw(format!("Type {file} and press Enter: ")),
        Span::styled(format!("{}_", typed.text), ACCENT),
    ]));
    lines.push(match typed.wrong {
        true => Line::styled(
            format!("That was not {file}; nothing was done."),
            Style::new().fg(Color::Yellow),
        ),
        false => Line::styled("Esc leaves things as they are.", QUIET),
    });
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

fn power(frame: &mut Frame<'_>, area: Rect, confirm: Confirm) {
    let lines: &[&str] = match confirm {
        Confirm::Choose => &[
            "Restart or power off?",
            "",
            "R  Restart",
            "P  Power off",
            "",
            "Esc leaves things as they are.",
        ],
        Confirm::Restart => &[
            "Restart this node? Virtual machines are asked to end first.",
            "",
            "Y  Yes, restart",
            "N  No",
        ],
        Confirm::PowerOff => &[
            "Power off this node? Virtual machines are asked to end first.",
            "",
            "Y  Yes, power off",
            "N  No",
        ],
        Confirm::Ending => &[
            "Ending: virtual machines are asked to end, then the node stops.",
            "This takes two minutes at most.",
        ],
    };
    let lines: Vec<Line<'_>> = lines.iter().map(|line| Line::raw(*line)).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn shown(facts: &Facts, view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test backend");
        terminal
            .draw(|frame| draw(frame, facts, view, "14:06 UTC"))
            .expect("drawing in memory");
        terminal.backend().to_string()
    }

    fn facts() -> Facts {
        Facts {
            version: "0.1.0".into(),
            node: "node-1".into(),
            urls: vec!["https://192.0.2.10".into()],
            fingerprint: (0..32)
                .map(|i| format!("{i:02X}"))
                .collect::<Vec<_>>()
                .join(":"),
            claim_code: Some("7KXQ-M2PD".into()),
            processor: "4 % of 2".into(),
            memory: "0.2 of 4 GiB".into(),
            storage: "not set up".into(),
            network: "eth0 192.0.2.10/24 (DHCP)".into(),
            machines: "none".into(),
            ..Facts::default()
        }
    }

    #[test]
    fn everything_needed_fits_on_80_by_24() {
        let text = shown(&facts(), &View::Summary, 80, 24);
        for part in [
            "https://192.0.2.10",
            "7KXQ-M2PD",
            "00:01:02",
            "1E:1F",
            "not set up",
            "F10 Restart, power off",
            "▀",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    fn damaged() -> Facts {
        Facts {
            stateless: true,
            aside: Some("raft.db".into()),
            faults: vec![ashlar_api::fault::Fault {
                code: "state-unusable".into(),
                severity: Severity::Critical,
                title: "The configuration of this node can not be opened".into(),
                detail: "/var/lib/ashlar/raft.db is damaged: file is not a database".into(),
                remedy: "Set raft.db aside.".into(),
                subject: None,
                since: ashlar_api::Timestamp::UNIX_EPOCH,
            }],
            ..facts()
        }
    }

    #[test]
    fn what_is_damaged_and_how_to_go_on_fits_on_80_by_24() {
        let text = shown(&damaged(), &View::Summary, 80, 24);
        for part in [
            "raft.db is damaged",
            "What to do",
            "F8 Set raft.db aside",
            "F10",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let typed = Typed {
            text: "raft".into(),
            wrong: false,
        };
        let text = shown(&damaged(), &View::Aside(typed), 80, 24);
        assert!(
            text.contains("Type raft.db and press Enter: raft_"),
            "{text}"
        );
    }

    #[test]
    fn any_size_is_drawn() {
        for (width, height) in [(1, 1), (20, 5), (80, 25), (240, 80)] {
            for view in [
                View::Summary,
                View::Network(Form::of(&facts().management, vec!["eth0".into()])),
                View::Drives,
                View::Log,
                View::Power(Confirm::Choose),
                View::Faults,
                View::Aside(Typed::default()),
            ] {
                shown(&damaged(), &view, width, height);
                shown(&facts(), &view, width, height);
            }
        }
    }
}
