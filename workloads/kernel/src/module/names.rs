//! What a function is called, for messages: an export's name, else that of the name section.

use super::Module;
use crate::refusal::{Place, shorten};
use wasmparser::{ExternalKind, KnownCustom, Name, Parser, Payload};

impl Module<'_> {
    /// Where something in a function is.
    pub(crate) fn place(&self, function: u32, offset: usize) -> Place {
        Place { function, name: self.name(function), offset }
    }

    fn name(&self, function: u32) -> Option<String> {
        let named = |export: &&wasmparser::Export<'_>| {
            export.kind == ExternalKind::Func && export.index == function
        };
        if let Some(export) = self.exports.iter().find(named) {
            return Some(shorten(export.name));
        }
        // The name section comes after the code, so that a refusal in the code must look ahead.
        let section = Parser::new(0).parse_all(self.wasm).find_map(|payload| match payload {
            Ok(Payload::CustomSection(reader)) => match reader.as_known() {
                KnownCustom::Name(names) => Some(names),
                _ => None,
            },
            _ => None,
        })?;
        for name in section {
            if let Ok(Name::Function(map)) = name {
                let naming = map.into_iter().flatten().find(|naming| naming.index == function)?;
                return Some(shorten(naming.name));
            }
        }
        None
    }
}
