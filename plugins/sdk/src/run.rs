use std::cell::RefCell;

use crate::answer::Answer;
use crate::output::{Output, Outputs};
use crate::record::Record;
use crate::{Result, batch};

/// Keeps or drops records.
pub trait Filter: Sized + 'static {
    /// Reads the configuration. An error fails every record.
    ///
    /// # Errors
    /// The configuration is wrong.
    fn new() -> Result<Self>;

    /// Whether the record goes on, as it came.
    ///
    /// # Errors
    /// The record has no result.
    fn keep(&mut self, record: Record<'_>) -> Result<bool>;
}

/// Makes records of records.
pub trait Transform: Sized + 'static {
    /// Reads the configuration. An error fails every record.
    ///
    /// # Errors
    /// The configuration is wrong.
    fn new() -> Result<Self>;

    /// Gives `out` what takes the record's place; nothing drops it.
    ///
    /// # Errors
    /// The record has no result, whatever `out` was given before.
    fn transform(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()>;
}

/// Decides where records go.
pub trait Route: Sized + 'static {
    /// Reads the configuration. An error fails every record.
    ///
    /// # Errors
    /// The configuration is wrong.
    fn new() -> Result<Self>;

    /// Gives `outputs` the names of those that the record goes to.
    ///
    /// # Errors
    /// The record has no result, whatever `outputs` was given before.
    fn route(&mut self, record: Record<'_>, outputs: &mut Outputs<'_>) -> Result<()>;
}

/// What all kinds come down to.
#[doc(hidden)]
pub trait Plugin: Sized {
    /// Of what an entry has beside a record's bytes.
    const ENTRY_BYTES: usize = 5;
    /// Whether records are copied out.
    const COPIES: bool = false;

    fn new() -> Result<Self>;
    fn entry(&mut self, record: Record<'_>, index: u32, answer: &mut Entry<'_>) -> Result<()>;
}

/// Hides the answer's type from a public trait.
#[doc(hidden)]
pub struct Entry<'a>(pub(crate) &'a mut Answer);

#[doc(hidden)]
pub struct Filtering<T>(T);

#[doc(hidden)]
pub struct Transforming<T>(T);

#[doc(hidden)]
pub struct Routing<T>(T);

impl<T: Filter> Plugin for Filtering<T> {
    fn new() -> Result<Self> {
        T::new().map(Self)
    }

    fn entry(&mut self, record: Record<'_>, index: u32, answer: &mut Entry<'_>) -> Result<()> {
        if self.0.keep(record)? {
            answer.0.keep(index);
        }
        Ok(())
    }
}

impl<T: Transform> Plugin for Transforming<T> {
    const COPIES: bool = true;

    fn new() -> Result<Self> {
        T::new().map(Self)
    }

    fn entry(&mut self, record: Record<'_>, index: u32, answer: &mut Entry<'_>) -> Result<()> {
        self.0.transform(record, &mut Output { answer: answer.0, index, record })
    }
}

impl<T: Route> Plugin for Routing<T> {
    const ENTRY_BYTES: usize = 9;

    fn new() -> Result<Self> {
        T::new().map(Self)
    }

    fn entry(&mut self, record: Record<'_>, index: u32, answer: &mut Entry<'_>) -> Result<()> {
        let mut outputs = Outputs { answer: answer.0, index, used: false };
        self.0.route(record, &mut outputs)?;
        if !outputs.used {
            answer.0.keep(index);
        }
        Ok(())
    }
}

/// An instance's plugin, made with the first batch.
#[doc(hidden)]
pub struct Slot<T>(RefCell<Option<Result<T>>>);

impl<T: Plugin> Slot<T> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    #[doc(hidden)]
    pub fn process(&self, bytes: &[u8]) -> Vec<u8> {
        let mut slot = self.0.borrow_mut();
        let plugin = slot.get_or_insert_with(|| {
            #[cfg(target_family = "wasm")]
            std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
            T::new()
        });
        let count = batch::records(bytes).size_hint().0;
        let copied = if T::COPIES { bytes.len() + bytes.len() / 4 } else { 0 };
        let mut answer = Answer::with_capacity(copied + count * T::ENTRY_BYTES + 64);
        for (index, record) in (0..).zip(batch::records(bytes)) {
            let mark = answer.mark();
            let result = match plugin {
                Ok(plugin) => plugin.entry(record, index, &mut Entry(&mut answer)),
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = result {
                answer.back_to(mark);
                answer.fail(index, &error);
            }
        }
        answer.bytes
    }
}

#[cfg(test)]
mod tests;
