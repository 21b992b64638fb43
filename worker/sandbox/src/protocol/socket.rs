//! The socket between a slot and its child, over which orders go, and open files with them: a child opens none itself.

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The most files that one read takes in. One travels with each message, and a read ends behind a message with one.
const TAKEN_MAX: usize = 4;

/// Sends bytes, and an open file with the first of them.
pub(crate) fn send(
    mut to: &UnixStream,
    bytes: &[u8],
    file: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let Some(file) = file else { return to.write_all(bytes) };
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file];
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no room for a file beside a message"));
    }
    let sent = loop {
        match sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            sent => break sent?,
        }
    };
    to.write_all(&bytes[sent..])
}

/// The child's end: reads orders, and puts the files that come with them aside until they are asked for.
#[derive(Debug)]
pub(crate) struct Orders {
    socket: UnixStream,
    files: VecDeque<OwnedFd>,
}

impl Orders {
    /// Of the standard input of a child.
    pub(crate) fn of_input() -> io::Result<Self> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { socket, files: VecDeque::new() })
    }

    /// The file that came with the order that was read last.
    pub(crate) fn file(&mut self) -> Option<OwnedFd> {
        self.files.pop_front()
    }
}

impl Read for Orders {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(TAKEN_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(buffer)];
        let got = recvmsg(&self.socket, &mut into, &mut control, RecvFlags::empty())?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        Ok(got.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Seek;

    use super::super::frame;
    use super::*;

    #[test]
    fn files_come_with_the_orders_that_they_were_sent_with() {
        let (slot, child) = UnixStream::pair().unwrap();
        let mut orders = Orders { socket: child, files: VecDeque::new() };
        for n in 0..20_u32 {
            let mut bytes = Vec::new();
            frame::write(&mut bytes, &(n, vec![7_u8; 1000 * n as usize]), &[]).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&n.to_le_bytes()).unwrap();
            file.rewind().unwrap();
            send(&slot, &bytes, (n % 3 != 0).then_some(file.as_fd())).unwrap();
        }
        drop(slot);
        for n in 0..20_u32 {
            let (number, _): (u32, Vec<u8>) = frame::read(&mut orders).unwrap().unwrap();
            assert_eq!(number, n);
            assert_eq!(orders.file().is_some(), n % 3 != 0, "{n}");
        }
        // And each its own.
        let (slot, child) = UnixStream::pair().unwrap();
        let mut orders = Orders { socket: child, files: VecDeque::new() };
        for n in 0..20_u8 {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[n]).unwrap();
            file.rewind().unwrap();
            let mut bytes = Vec::new();
            frame::write(&mut bytes, &n, &[]).unwrap();
            send(&slot, &bytes, Some(file.as_fd())).unwrap();
        }
        for n in 0..20_u8 {
            assert_eq!(frame::read::<u8>(&mut orders).unwrap(), Some(n));
            let mut content = Vec::new();
            File::from(orders.file().unwrap()).read_to_end(&mut content).unwrap();
            assert_eq!(content, [n]);
        }
    }
}
