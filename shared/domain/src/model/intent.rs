//! What a local write wants to come true at a provider; never the content, which is read from the event when sent.

use serde::{Deserialize, Serialize};

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$item])* $variant),* }

        impl $name {
            /// The name used in tables, API and command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one of that name; unknown names are `None`.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

named! {
    /// What is done to the event.
    Operation {
        /// It is made.
        Create = "create",
        /// It is changed.
        Update = "update",
        /// It is deleted; on a guest's copy that declines.
        Delete = "delete",
        /// The owner's answer to an invitation.
        Respond = "respond",
    }
}

named! {
    /// How much of a series is meant.
    EditScope {
        /// One instance.
        This = "this",
        /// An instance and all after it.
        Following = "following",
        /// The whole event: a single one, or the series.
        All = "all",
    }
}

named! {
    /// Whom the provider may mail about a write, from the fewest to the most. Belongs to the intent and takes effect
    /// once.
    Notify {
        /// Nobody: imports, blocks, repairs.
        None = "none",
        /// Guests outside the provider only.
        External = "external",
        /// All guests: a person's own edits.
        All = "all",
    }
}
