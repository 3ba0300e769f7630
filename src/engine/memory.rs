//! Memory for the values of tensors: this process's own, or a part of a mapping that an engine's process shares.
//!
//! A [`Mapping`] is an anonymous file (memfd) that both processes map, cut into *rooms*, one for each tensor. Both sides
//! compute where a room lies from the rooms' sizes, so that no place ever travels. The file is as large as it will ever
//! be from the start: pages that nobody has written to cost nothing, so a tensor whose size the model decides gets a
//! large room and nothing needs to grow. It is sealed against any other size, since a file that shrinks would crash
//! whoever reads its mapping.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Rooms begin at multiples of this many bytes: a cache line, and what vector instructions like.
const ALIGNMENT: usize = 64;

/// A type of numbers that tensors are made of.
///
/// # Safety
/// Every pattern of bits is a value of the type, and it needs no larger alignment than rooms have.
pub unsafe trait Element: Copy + Default + PartialEq + fmt::Debug + Send + Sync + 'static {}

// SAFETY: plain numbers of 1 to 8 bytes.
unsafe impl Element for f32 {}
// SAFETY: as above; it is a u16 inside.
unsafe impl Element for half::f16 {}
// SAFETY: as above.
unsafe impl Element for u8 {}
// SAFETY: as above.
unsafe impl Element for i8 {}
// SAFETY: as above.
unsafe impl Element for i32 {}
// SAFETY: as above.
unsafe impl Element for i64 {}

struct Room {
    offset: usize,
    bytes: usize,
    /// Some [`Values`] lie here.
    taken: AtomicBool,
}

/// A mapped file, and its rooms.
pub struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    rooms: Vec<Room>,
}

// SAFETY: the memory belongs to the mapping until it is dropped, and a room is lent to one `Values` at a time.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("bytes", &self.bytes).field("rooms", &self.rooms.len()).finish()
    }
}

/// Where rooms of `sizes` bytes begin, and where the last one ends; `None` if that is more than memory has.
fn layout(sizes: &[usize]) -> Option<(Vec<usize>, usize)> {
    let mut end = 0_usize;
    let mut starts = Vec::with_capacity(sizes.len());
    for size in sizes {
        starts.push(end);
        end = end.checked_add(*size)?.checked_next_multiple_of(ALIGNMENT)?;
    }
    // A slice may not be larger, and an empty file cannot be mapped.
    (isize::try_from(end).is_ok()).then_some((starts, end.max(ALIGNMENT)))
}

/// An anonymous file of `bytes` zeros whose size nobody can change.
fn sealed_file(bytes: usize) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("vigil-tensors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, bytes as u64)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// An anonymous file of these bytes, which nobody can change.
///
/// # Errors
/// If the system has no memory for it.
pub fn constant_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::io::Write;
    let file = rustix::fs::memfd_create("vigil-bytes", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    let file = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// The bytes of a [`constant_file`], read where they lie.
pub struct Bytes {
    start: NonNull<u8>,
    len: usize,
}

impl Bytes {
    /// Maps a file that [`constant_file`] made.
    ///
    /// # Errors
    /// If it is empty or anybody could change it, or the system refuses the mapping.
    pub fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        let len = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
        let needed = SealFlags::WRITE | SealFlags::SHRINK;
        if len == 0 || !rustix::fs::fcntl_get_seals(file)?.contains(needed) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped in `map` with this length; the seals see to it that the file stays so long and as it is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length; slices of it borrow `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Mapping {
    /// A new file with rooms of `sizes` bytes, and its mapping.
    ///
    /// # Errors
    /// If the system refuses the file or the mapping.
    pub fn create(sizes: &[usize]) -> io::Result<(OwnedFd, Arc<Self>)> {
        let (_, bytes) = layout(sizes).ok_or(io::ErrorKind::OutOfMemory)?;
        let file = sealed_file(bytes)?;
        let mapping = Self::open(file.as_fd(), sizes)?;
        Ok((file, mapping))
    }

    /// The mapping of a file that [`create`](Self::create) made for the same `sizes`.
    ///
    /// # Errors
    /// If the file is too small for the rooms or may shrink, or the system refuses the mapping.
    pub fn open(file: BorrowedFd<'_>, sizes: &[usize]) -> io::Result<Arc<Self>> {
        let (starts, bytes) = layout(sizes).ok_or(io::ErrorKind::InvalidInput)?;
        let has = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
        if has < bytes || !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)
        }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let room = |(offset, bytes): (usize, &usize)| Room { offset, bytes: *bytes, taken: AtomicBool::new(false) };
        let rooms = starts.into_iter().zip(sizes).map(room).collect();
        Ok(Arc::new(Self { start, bytes, rooms }))
    }

    /// `len` values in room `index`, as the room has them; `None` if there is no such room, it is too small, or other
    /// values lie in it already.
    pub fn values<T: Element>(self: &Arc<Self>, index: usize, len: usize) -> Option<Values<T>> {
        let room = self.rooms.get(index)?;
        if len > room.bytes / size_of::<T>() || room.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(Values(Store::Room(Lent { mapping: Arc::clone(self), index, len, of: PhantomData })))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `open` with this length; no `Values` is left, since each holds the mapping.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A room that is in use by one owner.
struct Lent<T> {
    mapping: Arc<Mapping>,
    index: usize,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Element> Lent<T> {
    fn room(&self) -> (*mut T, usize) {
        match self.mapping.rooms.get(self.index) {
            // SAFETY: rooms lie inside of the mapping.
            Some(room) => (unsafe { self.mapping.start.as_ptr().add(room.offset) }.cast(), room.bytes / size_of::<T>()),
            None => (NonNull::dangling().as_ptr(), 0),
        }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        if let Some(room) = self.mapping.rooms.get(self.index) {
            room.taken.store(false, Ordering::Release);
        }
    }
}

enum Store<T: Element> {
    Own(Vec<T>),
    Room(Lent<T>),
}

/// The values of a tensor: a vector, which may lie in shared memory. What does not fit there any more moves to memory of
/// this process.
pub struct Values<T: Element>(Store<T>);

impl<T: Element> Values<T> {
    /// Whether these values lie in room `index` of `mapping`.
    pub fn is_in(&self, mapping: &Arc<Mapping>, index: usize) -> bool {
        matches!(&self.0, Store::Room(lent) if Arc::ptr_eq(&lent.mapping, mapping) && lent.index == index)
    }

    /// Makes `len` values of what a room has now; `false` if they do not lie in a room or it is too small.
    pub fn set_len(&mut self, len: usize) -> bool {
        match &mut self.0 {
            Store::Room(lent) if len <= lent.room().1 => {
                lent.len = len;
                true
            }
            _ => false,
        }
    }

    /// Cuts, or fills up with `value`, to `len` values.
    pub fn resize(&mut self, len: usize, value: T) {
        let old = self.len();
        if self.set_len(len) {
            if let Some(new) = self.get_mut(old..) {
                new.fill(value);
            }
        } else {
            self.own(|values| values.resize(len, value));
        }
    }

    /// Becomes empty; keeps its memory.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Store::Own(values) => values.clear(),
            Store::Room(lent) => lent.len = 0,
        }
    }

    /// Appends values.
    pub fn extend_from_slice(&mut self, values: &[T]) {
        let old = self.len();
        if self.set_len(old.saturating_add(values.len())) {
            if let Some(new) = self.get_mut(old..) {
                new.copy_from_slice(values);
            }
        } else {
            self.own(|own| own.extend_from_slice(values));
        }
    }

    /// Changes the values as a vector; those of a room move out of it.
    fn own(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        match &mut self.0 {
            Store::Own(values) => change(values),
            Store::Room(_) => {
                let mut values = self.to_vec();
                change(&mut values);
                self.0 = Store::Own(values);
            }
        }
    }
}

impl<T: Element> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Store::Own(values) => values,
            // SAFETY: the room has at least `len` values, aligned, and nobody else in this process uses it. The other
            // process writes to it only during a run, for which the caller has given up the tensors; one that breaks
            // this changes numbers, of which every pattern is valid.
            Store::Room(lent) => unsafe { std::slice::from_raw_parts(lent.room().0, lent.len) },
        }
    }
}

impl<T: Element> DerefMut for Values<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Store::Own(values) => values,
            // SAFETY: as for reading; the room belongs to these values alone.
            Store::Room(lent) => unsafe { std::slice::from_raw_parts_mut(lent.room().0, lent.len) },
        }
    }
}

impl<T: Element> Default for Values<T> {
    fn default() -> Self {
        Self(Store::Own(Vec::new()))
    }
}

impl<T: Element> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Store::Own(values))
    }
}

impl<T: Element> Extend<T> for Values<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        match &mut self.0 {
            Store::Own(own) => own.extend(values),
            Store::Room(_) => values.into_iter().for_each(|value| self.extend_from_slice(&[value])),
        }
    }
}

/// A copy in memory of this process.
impl<T: Element> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self(Store::Own(self.to_vec()))
    }
}

impl<T: Element> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Element> fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_mappings_of_a_file_see_the_same_values() {
        let sizes = [4 * 3, 8, 1 << 20];
        let (file, here) = Mapping::create(&sizes).unwrap();
        let there = Mapping::open(file.as_fd(), &sizes).unwrap();
        let mut a = here.values::<f32>(0, 3).unwrap();
        let mut b = here.values::<i64>(1, 1).unwrap();
        let mut c = here.values::<u8>(2, 0).unwrap();
        assert_eq!(a[..], [0.0; 3]);
        a.copy_from_slice(&[1.0, f32::NAN, -3.0]);
        b[0] = i64::MIN;
        c.extend([7, 8, 9]);
        let seen = there.values::<f32>(0, 3).unwrap();
        assert!(seen[0] == 1.0 && seen[1].is_nan() && seen[2] == -3.0);
        assert_eq!(there.values::<i64>(1, 1).unwrap()[..], [i64::MIN]);
        assert_eq!(there.values::<u8>(2, 3).unwrap()[..], [7, 8, 9]);
        assert!([a.as_ptr() as usize, b.as_ptr() as usize, c.as_ptr() as usize].iter().all(|p| p % ALIGNMENT == 0));
    }

    #[test]
    fn a_room_has_one_owner_and_keeps_its_size() {
        let (_file, mapping) = Mapping::create(&[4, 64]).unwrap();
        assert!(mapping.values::<i32>(0, 2).is_none() && mapping.values::<i32>(2, 0).is_none());
        let mut values = mapping.values::<i32>(0, 1).unwrap();
        assert!(mapping.values::<i32>(0, 1).is_none(), "it is taken");
        assert!(values.is_in(&mapping, 0) && !values.is_in(&mapping, 1));
        values[0] = 5;
        assert_eq!(values.clone(), values);
        values.resize(0, 0);
        values.resize(1, 6);
        assert!(values.is_in(&mapping, 0));
        // Too large for the room: it goes on in other memory, and the room is free.
        values.extend_from_slice(&[7, 8]);
        assert_eq!(values[..], [6, 7, 8]);
        assert!(!values.is_in(&mapping, 0) && !values.set_len(1));
        assert_eq!(mapping.values::<i32>(0, 1).unwrap()[..], [6], "what was written stays in the room");
    }

    #[test]
    fn nobody_can_change_the_size_of_a_file() {
        let (file, mapping) = Mapping::create(&[1 << 16]).unwrap();
        for size in [0, 1, 1 << 20] {
            assert_eq!(rustix::fs::ftruncate(&file, size), Err(rustix::io::Errno::PERM));
        }
        assert_eq!(mapping.values::<u8>(0, 1 << 16).unwrap().len(), 1 << 16);
        let weights = constant_file(b"weights").unwrap();
        assert_eq!(rustix::io::pwrite(&weights, b"W", 0), Err(rustix::io::Errno::PERM));
        assert_eq!(Bytes::map(weights.as_fd()).unwrap()[..], *b"weights");
    }

    #[test]
    fn a_file_that_cannot_hold_the_rooms_is_refused() {
        let (file, _mapping) = Mapping::create(&[100]).unwrap();
        for sizes in [&[1000][..], &[100, 1], &[usize::MAX], &[usize::MAX / 2, usize::MAX / 2]] {
            assert!(Mapping::open(file.as_fd(), sizes).is_err(), "{sizes:?}");
        }
        let loose = rustix::fs::memfd_create("loose", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&loose, 4096).unwrap();
        assert!(Mapping::open(loose.as_fd(), &[100]).is_err(), "it may shrink");
        assert!(Bytes::map(loose.as_fd()).is_err(), "it may change");
        assert!(Bytes::map(constant_file(b"").unwrap().as_fd()).is_err(), "there is nothing in it");
    }
}
