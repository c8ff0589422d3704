//! Looks after one leg, whatever its transport: what a lone caller hears, DTMF, the end of a call.

use std::future::pending;

use mgw::config::Language;
use mgw::engine::LeaveMode;
use tokio::time::sleep;

use crate::calls::{Row, Transport};
use crate::media::{Leg, LegControl, LegEvent};
use crate::rooms::{Company, Member};
use crate::settings::{Extension, PartnerGone};
use crate::shim::Shim;

/// Why nobody looks after a leg any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The partner hung up and its last words were heard.
    PartnerGone,
    /// The leg's transport ended.
    LegEnded,
    /// Somebody asked for it over the control interface, or the shim stops and nobody is there to talk to.
    Asked,
    /// The shim ends: nothing is waited for.
    Ending,
}

/// Announcements to lone callers, by language.
const ANNOUNCEMENTS: [(&str, &str); 6] = [
    ("en", "You are the first one here. Please hold the line, your partner has not joined yet."),
    ("es", "Es usted el primero. Por favor, espere en la línea, su interlocutor todavía no se ha conectado."),
    ("de", "Sie sind als Erster hier. Bitte bleiben Sie am Apparat, Ihr Gesprächspartner ist noch nicht da."),
    ("fr", "Vous êtes le premier. Veuillez patienter, votre correspondant n'est pas encore là."),
    ("it", "Lei è il primo. Resti in linea, il suo interlocutore non è ancora arrivato."),
    ("pt", "Você é o primeiro. Aguarde na linha, seu interlocutor ainda não chegou."),
];

/// Serves a leg until its call is over. The caller then hangs up its own side and calls [`part`].
pub async fn attend(shim: &Shim, leg: &mut Leg, member: &mut Member, row: &Row, extension: &Extension) -> Over {
    let mut met = false;
    // Said once to a caller, and not to one whose partner has just left.
    let mut told = false;
    member.connected();
    let mut company = member.company();
    loop {
        match company {
            Company::Deserted => return Over::PartnerGone,
            Company::Together => met = true,
            Company::Alone if met && shim.settings.partner_gone == PartnerGone::Wait => member.wait_again(),
            Company::Alone => {}
        }
        let alone_now = company == Company::Alone;
        let patience = shim.settings.alone_after.filter(|_| alone_now && !met && !told);
        let alone = async {
            match patience {
                Some(time) => sleep(time).await,
                None => pending().await,
            }
        };
        tokio::pin!(alone);
        company = loop {
            tokio::select! {
                now = member.changed() => break now,
                () = &mut alone, if !told => {
                    told = true;
                    announce(shim, leg, extension);
                }
                event = leg.event() => match event {
                    LegEvent::Ended => return Over::LegEnded,
                    LegEvent::Dtmf(pressed) => digit(shim, leg.control(), row, pressed),
                },
                () = row.hang_up().cancelled() => return Over::Asked,
                () = shim.closing.cancelled(), if alone_now => return Over::Asked,
                () = shim.ending.cancelled() => return Over::Ending,
            }
        };
    }
}

/// Ends a leg: its last words are heard by the others, then its place in the room is given up.
pub async fn part(shim: &Shim, leg: Leg, member: Member, over: Over) {
    // From now on nobody is put together with it.
    member.leaving();
    let mode = if over == Over::Ending { LeaveMode::Now } else { LeaveMode::Drain };
    tokio::select! {
        () = leg.close(mode) => {}
        () = shim.ending.cancelled() => {}
    }
    drop(member);
}

fn announce(shim: &Shim, leg: &Leg, extension: &Extension) {
    let text = extension.announcement.clone().or_else(|| {
        let hears = shim.settings.hears(extension)?;
        own_text(hears).map(str::to_owned)
    });
    if let Some(text) = text {
        leg.control().say(&text);
    }
}

fn own_text(language: Language) -> Option<&'static str> {
    let code = language.to_string();
    let primary = code.split('-').next().unwrap_or(&code);
    ANNOUNCEMENTS.iter().find(|(l, _)| l.eq_ignore_ascii_case(primary)).map(|(_, text)| *text)
}

/// A digit that a phone sent: told to the library and, if that is set, to the phones of the others.
pub fn digit(shim: &Shim, from: &LegControl, row: &Row, digit: char) {
    from.report_dtmf(digit);
    if !shim.settings.relay_dtmf {
        return;
    }
    for (id, transport, phone) in shim.calls.others(row.id()) {
        let sent = match transport {
            Transport::Ari => shim.ari.press(&id, digit),
            Transport::Rtp => phone.send_dtmf(digit),
            // Asterisk takes only audio and hang-up from an AudioSocket server.
            Transport::AudioSocket => false,
        };
        if !sent {
            tracing::warn!(leg = %id, "a digit could not be sent to this phone");
        }
    }
}
