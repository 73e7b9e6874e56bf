//! Runs the binary in a terminal of a given width and returns what a person sees.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Lines of the terminal: more than any run prints, so that nothing scrolls away.
const ROWS: u16 = 400;

/// What a terminal showed while a command ran.
pub struct Screen {
    /// The screen after each change, with trailing spaces and empty lines at the end removed.
    pub frames: Vec<String>,
    /// All that the command wrote, with the codes that control the terminal.
    pub written: String,
    pub code: Option<i32>,
}

impl Screen {
    /// Returns what is left on the screen when the command has ended.
    pub fn last(&self) -> &str {
        self.frames.last().map_or("", String::as_str)
    }
}

/// Runs a command whose standard input, output and error are a terminal of so many columns.
pub fn screen(command: &mut Command, columns: u16) -> Screen {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let mut terminal = OpenOptions::new();
    let terminal: OwnedFd = terminal.read(true).write(true).open(name.to_str().unwrap()).unwrap().into();
    let window = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, window).unwrap();
    command.stdin(terminal.try_clone().unwrap());
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    let mut child = command.spawn().unwrap();
    // The command holds copies of the terminal, which would keep it open.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut master = File::from(master);
    let size = |count: u16| count.try_into().unwrap();
    let mut parser = vt100::Parser::new(size(ROWS), size(columns), 0);
    let (mut bytes, mut written, mut frames) = (vec![0; 1 << 16], Vec::new(), Vec::new());
    // Once the child has closed the terminal, the system answers with an error instead of an end.
    while let Ok(count @ 1..) = master.read(&mut bytes) {
        parser.process(&bytes[..count]);
        written.extend_from_slice(&bytes[..count]);
        let lines: Vec<String> =
            parser.screen().rows(0, columns).map(|line| line.trim_end().to_owned()).collect();
        let frame = lines.join("\n").trim_end().to_owned() + "\n";
        if frames.last() != Some(&frame) {
            frames.push(frame);
        }
    }
    let written = String::from_utf8_lossy(&written).into_owned();
    Screen { frames, written, code: child.wait().unwrap().code() }
}

#[test]
fn a_terminal_is_as_wide_as_it_was_asked_for() {
    let screen = screen(Command::new("bash").args(["-c", "stty size; echo 123456789012"]), 10);
    assert_eq!(screen.last(), "400 10\n1234567890\n12\n");
    assert_eq!(screen.code, Some(0));
}
