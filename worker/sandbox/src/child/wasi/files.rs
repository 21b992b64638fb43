//! The files of a command: its first input as standard input, its output, its log, and `/input/0`, `/input/1`...

use super::{MODULE, after, errno, get, put};
use crate::child::host::{Host, charge, memory, range, unreadable};
use wasmtime::{Caller, Linker};

/// The one directory.
const DIRECTORY: &[u8; 6] = b"/input";
/// What is known of it beforehand: that it is a directory, and the length of its name.
const PRESTAT: [u8; 8] = [0, 0, 0, 0, 6, 0, 0, 0];
/// Descriptors of one command.
const FILES_MAX: usize = 256;
/// Parts of memory in one call, as POSIX systems have it.
const PARTS_MAX: i32 = 1024;
/// Rights of preview 1, by which C libraries tell what a descriptor is good for.
const READ_RIGHTS: u64 = (1 << 1) | (1 << 2) | (1 << 5) | (1 << 21) | (1 << 27);
const WRITE_RIGHTS: u64 = (1 << 6) | (1 << 21) | (1 << 27);
const DIRECTORY_RIGHTS: u64 = (1 << 13) | (1 << 18) | (1 << 21);
/// Creation and truncation among the flags of `path_open`.
const CHANGING_FLAGS: i32 = 1 | 8;
const DIRECTORY_FLAG: i32 = 2;

/// What a file descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    Input { input: usize, at: u64 },
    Output,
    Log,
    Directory,
}

impl File {
    /// Type in the numbers of preview 1: unknown, directory, regular file.
    fn kind(self) -> u8 {
        match self {
            Self::Input { .. } => 4,
            Self::Output | Self::Log => 0,
            Self::Directory => 3,
        }
    }

    fn rights(self) -> (u64, u64) {
        match self {
            Self::Input { .. } => (READ_RIGHTS, 0),
            Self::Output | Self::Log => (WRITE_RIGHTS, 0),
            Self::Directory => (DIRECTORY_RIGHTS, READ_RIGHTS),
        }
    }
}

pub(crate) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "fd_read",
        |caller: Caller<'_, Host>, fd: i32, parts: i32, n: i32, to: i32| {
            read(caller, fd, parts, n, None, to)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_pread",
        |caller: Caller<'_, Host>, fd: i32, parts: i32, n: i32, at: i64, to: i32| {
            read(caller, fd, parts, n, Some(at.cast_unsigned()), to)
        },
    )?;
    linker.func_wrap(MODULE, "fd_write", write)?;
    linker.func_wrap(MODULE, "fd_seek", seek)?;
    linker.func_wrap(MODULE, "fd_tell", |caller: Caller<'_, Host>, fd: i32, to: i32| {
        seek(caller, fd, 0, 1, to)
    })?;
    linker.func_wrap(MODULE, "fd_close", |mut caller: Caller<'_, Host>, fd: i32| {
        match caller
            .data_mut()
            .world
            .files
            .get_mut(fd.cast_unsigned() as usize)
            .and_then(Option::take)
        {
            Some(_) => errno::SUCCESS,
            None => errno::BADF,
        }
    })?;
    linker.func_wrap(
        MODULE,
        "fd_fdstat_get",
        |mut caller: Caller<'_, Host>, fd: i32, to: i32| {
            let Some(file) = open(caller.data(), fd) else { return Ok(errno::BADF) };
            let (base, inherited) = file.rights();
            let mut stat = [0; 24];
            stat[0] = file.kind();
            stat[8..16].copy_from_slice(&base.to_le_bytes());
            stat[16..].copy_from_slice(&inherited.to_le_bytes());
            put(&mut caller, to, &stat)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_filestat_get",
        |mut caller: Caller<'_, Host>, fd: i32, to: i32| {
            let Some(file) = open(caller.data(), fd) else { return Ok(errno::BADF) };
            put_filestat(&mut caller, file, to)
        },
    )?;
    define_directory(linker)
}

/// The directory and the files below it.
fn define_directory(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "fd_prestat_get",
        |mut caller: Caller<'_, Host>, fd: i32, to: i32| {
            if open(caller.data(), fd) != Some(File::Directory) {
                return Ok(errno::BADF);
            }
            put(&mut caller, to, &PRESTAT)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_prestat_dir_name",
        |mut caller: Caller<'_, Host>, fd: i32, to: i32, len: i32| {
            if open(caller.data(), fd) != Some(File::Directory) {
                return Ok(errno::BADF);
            }
            let len = (len.cast_unsigned() as usize).min(DIRECTORY.len());
            put(&mut caller, to, &DIRECTORY[..len])
        },
    )?;
    linker.func_wrap(MODULE, "path_open", path_open)?;
    linker.func_wrap(
        MODULE,
        "path_filestat_get",
        |mut caller: Caller<'_, Host>, fd: i32, _flags: i32, path: i32, len: i32, to: i32| {
            match find(&mut caller, fd, path, len)? {
                Ok(file) => put_filestat(&mut caller, file, to),
                Err(error) => Ok(error),
            }
        },
    )?;
    Ok(())
}

fn open(host: &Host, fd: i32) -> Option<File> {
    host.world.files.get(fd.cast_unsigned() as usize).copied().flatten()
}

fn put_filestat(caller: &mut Caller<'_, Host>, file: File, to: i32) -> wasmtime::Result<i32> {
    let size = match file {
        File::Input { input, .. } => caller.data().inputs.len(input).unwrap_or(0),
        File::Output | File::Log | File::Directory => 0,
    };
    let mut stat = [0; 64];
    stat[16] = file.kind();
    stat[24] = 1;
    stat[32..40].copy_from_slice(&size.to_le_bytes());
    put(caller, to, &stat)
}

/// The file at a path below the directory, or an error number.
fn find(
    caller: &mut Caller<'_, Host>,
    fd: i32,
    path: i32,
    len: i32,
) -> wasmtime::Result<Result<File, i32>> {
    let (bytes, host) = memory(caller)?;
    let path = &bytes[range(bytes, path, len.cast_unsigned() as usize)?];
    match open(host, fd) {
        Some(File::Directory) => {}
        Some(_) => return Ok(Err(errno::NOTDIR)),
        None => return Ok(Err(errno::BADF)),
    }
    if path == b"." || path.is_empty() {
        return Ok(Ok(File::Directory));
    }
    // The number as the documentation writes it, and in no other way.
    let number = std::str::from_utf8(path).ok().and_then(|name| name.parse::<usize>().ok());
    let input =
        number.filter(|input| *input < host.inputs.count() && input.to_string().as_bytes() == path);
    Ok(input.map(|input| File::Input { input, at: 0 }).ok_or(errno::NOENT))
}

#[expect(clippy::too_many_arguments, reason = "the signature is that of preview 1")]
fn path_open(
    mut caller: Caller<'_, Host>,
    fd: i32,
    _lookup: i32,
    path: i32,
    len: i32,
    flags: i32,
    _base: i64,
    _inherited: i64,
    _fd_flags: i32,
    to: i32,
) -> wasmtime::Result<i32> {
    let file = match find(&mut caller, fd, path, len)? {
        _ if flags & CHANGING_FLAGS != 0 => return Ok(errno::ROFS),
        Ok(File::Input { .. }) if flags & DIRECTORY_FLAG != 0 => return Ok(errno::NOTDIR),
        Ok(file) => file,
        Err(error) => return Ok(error),
    };
    let files = &mut caller.data_mut().world.files;
    // The first three stay what they are, even when closed.
    let free =
        files.iter().skip(3).position(Option::is_none).map_or(files.len(), |index| index + 3);
    if FILES_MAX <= free {
        return Ok(errno::MFILE);
    }
    if free == files.len() {
        files.push(None);
    }
    files[free] = Some(file);
    let fd = crate::child::host::as_i32(free);
    put(&mut caller, to, &fd.to_le_bytes())
}

/// The pointer and the length of each of some parts of memory.
fn part(bytes: &[u8], parts: i32, index: usize) -> wasmtime::Result<(i32, usize)> {
    let pair: [u8; 8] = get(bytes, after(parts, index.saturating_mul(8)))?;
    let [a, b, c, d, e, f, g, h] = pair;
    Ok((i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]) as usize))
}

fn read(
    mut caller: Caller<'_, Host>,
    fd: i32,
    parts: i32,
    n_parts: i32,
    at: Option<u64>,
    to: i32,
) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(&mut caller)?;
    let Some(File::Input { input, at: mut position }) = open(host, fd) else {
        return Ok(errno::BADF);
    };
    position = at.unwrap_or(position);
    let mut total = 0;
    if !(0..=PARTS_MAX).contains(&n_parts) {
        return Ok(errno::INVAL);
    }
    for index in 0..n_parts.cast_unsigned() as usize {
        let (ptr, len) = part(bytes, parts, index)?;
        let buffer = range(bytes, ptr, len)?;
        let n = host
            .inputs
            .read(input, position, &mut bytes[buffer])
            .map_err(|error| unreadable(input, &error))?;
        position += n as u64;
        total += n;
        if n < len {
            break;
        }
    }
    if at.is_none() {
        host.world.files[fd.cast_unsigned() as usize] = Some(File::Input { input, at: position });
    }
    charge(&mut caller, total)?;
    put(&mut caller, to, &crate::child::host::as_i32(total).to_le_bytes())
}

fn write(
    mut caller: Caller<'_, Host>,
    fd: i32,
    parts: i32,
    n_parts: i32,
    to: i32,
) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(&mut caller)?;
    let file = open(host, fd);
    let mut total = 0_usize;
    if !(0..=PARTS_MAX).contains(&n_parts) {
        return Ok(errno::INVAL);
    }
    for index in 0..n_parts.cast_unsigned() as usize {
        let (ptr, len) = part(bytes, parts, index)?;
        let content = &bytes[range(bytes, ptr, len)?];
        match file {
            Some(File::Output) => host.write_output(content)?,
            Some(File::Log) => host.log_text(content),
            Some(File::Input { .. } | File::Directory) | None => return Ok(errno::BADF),
        }
        total = total.saturating_add(len);
    }
    charge(&mut caller, total)?;
    put(&mut caller, to, &crate::child::host::as_i32(total).to_le_bytes())
}

fn seek(
    mut caller: Caller<'_, Host>,
    fd: i32,
    offset: i64,
    whence: i32,
    to: i32,
) -> wasmtime::Result<i32> {
    let host = caller.data_mut();
    let (input, at) = match open(host, fd) {
        Some(File::Input { input, at }) => (input, at),
        Some(File::Output | File::Log) => return Ok(errno::SPIPE),
        Some(File::Directory) | None => return Ok(errno::BADF),
    };
    let from = match whence {
        0 => 0,
        1 => at,
        2 => host.inputs.len(input).unwrap_or(0),
        _ => return Ok(errno::INVAL),
    };
    let Some(at) = from.checked_add_signed(offset) else { return Ok(errno::INVAL) };
    host.world.files[fd.cast_unsigned() as usize] = Some(File::Input { input, at });
    put(&mut caller, to, &at.to_le_bytes())
}
