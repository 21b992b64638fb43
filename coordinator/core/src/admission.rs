//! Who may join with an account that is not known yet: as the operator chooses.

use crate::Core;
use crate::event::{Hello, Refused};
use crate::record::Table;
use crate::token::{Role, Token};

/// What an account that is not known yet must show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: keys are free.
    #[default]
    Open,
    /// An invitation that lets in another account.
    Invited,
    /// Work, once, of so many bits ([`proto::hello::worked`]).
    Work(u32),
}

impl Core {
    /// Sets what accounts must show from now on that are not known yet.
    pub fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// Whether the account of a worker is known, or shows what it must; takes what it shows.
    pub(super) fn let_in(&mut self, hello: &Hello) -> Result<(), Refused> {
        if self.account_numbers.contains_key(&hello.account) || self.embedded == Some(hello.worker)
        {
            return Ok(());
        }
        match self.admission {
            Admission::Open => Ok(()),
            Admission::Work(bits) if bits <= hello.work_bits => Ok(()),
            Admission::Work(bits) => Err(Refused::NoWork(bits)),
            Admission::Invited => {
                let invites = |token: &&mut Token| Some(token.digest) == hello.invitation;
                let token = self.tokens.values_mut().find(invites).ok_or(Refused::NotInvited)?;
                let Role::Volunteer { accounts } = &mut token.role else {
                    return Err(Refused::NotInvited);
                };
                *accounts = accounts.checked_sub(1).ok_or(Refused::InvitationUsed)?;
                self.dirty.put(Table::token(&token.id.0), &*token);
                Ok(())
            }
        }
    }
}
