//! The half that has keys: it starts children, opens files for them, and watches over them.

pub(crate) mod cache;
pub(crate) mod child_handle;
pub(crate) mod compile;
pub(crate) mod files;
pub(crate) mod pool;
pub(crate) mod process;
pub(crate) mod slot;
pub(crate) mod trial;
