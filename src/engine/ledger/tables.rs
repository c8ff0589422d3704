//! What the ledger knows of languages: conjunctions, words for numbers, abbreviations, punctuation.
//!
//! All words are as [`super::words`] compares them: lower case, without punctuation.

/// One language. Conjunctions begin a clause; in front of them a sentence can be cut.
struct Row {
    code: &'static str,
    conjunctions: &'static str,
    numbers: &'static str,
}

#[rustfmt::skip]
static ROWS: &[Row] = &[
    Row { code: "de", conjunctions: "und oder aber denn sondern doch weil dass wenn als ob obwohl damit während bevor nachdem sodass deshalb falls sobald",
        numbers: "null ein eins eine zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert tausend million millionen komma" },
    Row { code: "en", conjunctions: "and but or because so which when while although though if since unless until whereas where who whether before after then however",
        numbers: "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion point double triple" },
    Row { code: "es", conjunctions: "y e o u pero porque que cuando si aunque mientras como donde pues sino entonces",
        numbers: "cero un uno una dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve veinte veintiuno treinta cuarenta cincuenta sesenta setenta ochenta noventa cien ciento doscientos trescientos cuatrocientos quinientos mil millón millones coma" },
    Row { code: "fr", conjunctions: "et ou mais donc car que qui quand si parce puisque lorsque comme alors où",
        numbers: "zéro un une deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize vingt vingts trente quarante cinquante soixante cent cents mille million millions virgule" },
    Row { code: "it", conjunctions: "e ed o ma perché che quando se mentre quindi però anche come dove poi",
        numbers: "zero un uno una due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento mille mila milione milioni virgola" },
    Row { code: "nb", conjunctions: "og eller men fordi at når hvis som da mens så",
        numbers: "null en ett to tre fire fem seks sju åtte ni ti elleve tolv tjue tretti førti femti seksti sytti åtti nitti hundre tusen million" },
    Row { code: "nl", conjunctions: "en of maar want dus omdat dat als terwijl toen hoewel wanneer zodat voordat nadat",
        numbers: "nul een één twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien achttien negentien twintig dertig veertig vijftig zestig zeventig tachtig negentig honderd duizend miljoen komma" },
    Row { code: "pl", conjunctions: "i a ale lub albo oraz bo ponieważ że gdy kiedy jeśli żeby który która które więc",
        numbers: "zero jeden jedna dwa dwie trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście dwadzieścia trzydzieści czterdzieści pięćdziesiąt sześćdziesiąt siedemdziesiąt osiemdziesiąt dziewięćdziesiąt sto dwieście trzysta tysiąc tysiące tysięcy milion" },
    Row { code: "pt", conjunctions: "e ou mas porque que quando se embora enquanto como onde pois então",
        numbers: "zero um uma dois duas três quatro cinco seis meia sete oito nove dez onze doze treze quatorze catorze quinze dezesseis dezessete dezoito dezenove vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cem cento duzentos trezentos mil milhão milhões vírgula" },
    Row { code: "ru", conjunctions: "и а но или что потому когда если чтобы хотя который которая которые поэтому где как",
        numbers: "ноль один одна два две три четыре пять шесть семь восемь девять десять одиннадцать двенадцать двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто сто двести триста тысяча тысячи тысяч миллион" },
    Row { code: "sv", conjunctions: "och eller men när om som då medan så eftersom",
        numbers: "noll en ett två tre fyra fem sex sju åtta nio tio elva tolv tjugo trettio fyrtio femtio sextio sjuttio åttio nittio hundra tusen miljon" },
    Row { code: "tr", conjunctions: "ve veya ama çünkü fakat ancak eğer ki",
        numbers: "sıfır bir iki üç dört beş altı yedi sekiz dokuz on yirmi otuz kırk elli altmış yetmiş seksen doksan yüz bin milyon" },
    Row { code: "uk", conjunctions: "і й та а але або що бо коли якщо щоб хоча який яка які тому де як",
        numbers: "нуль один одна два дві три чотири п'ять шість сім вісім дев'ять десять двадцять тридцять сорок п'ятдесят сто двісті тисяча тисячі тисяч мільйон" },
];

/// A full stop behind these is no end of a sentence.
const ABBREVIATIONS: &str = "dr mr mrs ms prof st sr sra srta dra jr vs etc ca bzw usw evtl inkl nr hr fr mme mlle m dott sig ing avg approx dept inc ltd corp tel ext fig";
/// Languages that write a full stop behind ordinal numbers.
const ORDINAL_DOTS: &str = "cs da de et fi hr hu lv nb no pl sk sl tr";
/// Other spellings that formatting turns into each other.
const SPELLINGS: &[(&str, &str)] = &[
    ("doctor", "dr"),
    ("mister", "mr"),
    ("missus", "mrs"),
    ("professor", "prof"),
    ("saint", "st"),
    ("versus", "vs"),
    ("okay", "ok"),
    ("señora", "sra"),
    ("señor", "sr"),
    ("doktor", "dr"),
    ("herr", "hr"),
    ("frau", "fr"),
];

fn has(list: &str, word: &str) -> bool {
    list.split(' ').any(|known| known == word)
}

/// The row of a language code such as `pt-BR`.
fn row(code: &str) -> Option<&'static Row> {
    let primary = match code.split('-').next().unwrap_or(code) {
        "no" => "nb",
        primary => primary,
    };
    ROWS.iter().find(|row| row.code.eq_ignore_ascii_case(primary))
}

/// Whether a word begins a clause.
pub(super) fn is_conjunction(code: &str, word: &str) -> bool {
    row(code).is_some_and(|row| has(row.conjunctions, word))
}

/// Whether a word is (part of) a number: in digits, or in letters where the language is known.
pub(super) fn is_number(code: &str, word: &str) -> bool {
    let Some(row) = row(code) else { return word.contains(char::is_numeric) };
    let compound = |tail: &str| word.len() > tail.len() && word.ends_with(tail);
    word.contains(char::is_numeric)
        || row.numbers.split(' ').any(|known| {
            // Ukrainian's apostrophe is no letter.
            if known.contains('\'') { known.replace('\'', "") == word } else { known == word }
        })
        // Germanic tens and hundreds are written as one word: einundzwanzig, zweihundert.
        || (matches!(row.code, "de" | "nl") && ["zig", "ßig", "hundert", "tausend", "tig", "honderd", "duizend"].iter().any(|t| compound(t)) && row.numbers.split(' ').any(|n| word.ends_with(n)))
}

/// One spelling of what formatting spells in several ways.
pub(super) fn spelt(word: String) -> String {
    match SPELLINGS.iter().find(|(long, _)| *long == word) {
        Some((_, short)) => (*short).to_owned(),
        None => word,
    }
}

/// Punctuation that begins something.
pub(super) fn opens(c: char) -> bool {
    matches!(c, '¿' | '¡' | '«' | '“' | '„' | '「' | '『' | '（' | '(' | '[' | '【' | '《' | '〈')
}

/// Punctuation that ends a clause or a sentence, but for the full stop.
fn ends(c: char) -> bool {
    matches!(
        c,
        '!' | '?'
            | '…'
            | ';'
            | ':'
            | ','
            | '—'
            | '–'
            | '،'
            | '؛'
            | '؟'
            | '।'
            | '॥'
            | '。'
            | '！'
            | '？'
            | '；'
            | '：'
            | '，'
            | '、'
            | '．'
            | '｡'
            | '､'
            | '۔'
            | '։'
            | '။'
            | '។'
    )
}

/// Whether a token (`text` as it is written, `norm` as it is compared) is the last of a clause by its punctuation.
pub(super) fn ends_clause(code: &str, text: &str, norm: &str) -> bool {
    let tail = || text.chars().rev().take_while(|c| !c.is_alphanumeric());
    if tail().any(ends) {
        return true;
    }
    if !tail().any(|c| c == '.') {
        return false;
    }
    let body = text.trim_matches(|c: char| !c.is_alphanumeric());
    let letter = norm.chars().count() == 1 && norm.chars().all(|c| c.is_lowercase()) && norm != "i";
    let ordinal = norm.chars().all(char::is_numeric) && has(ORDINAL_DOTS, code.split('-').next().unwrap_or(code));
    let dotted = body.contains('.') && !body.contains(char::is_numeric);
    !(has(ABBREVIATIONS, norm) || letter || ordinal || dotted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_stops_that_end_nothing() {
        // (language, written, compared, ends a clause)
        for (code, text, norm, want) in [
            ("en", "home.", "home", true),
            ("en", "home.\"", "home", true),
            ("en", "Well,", "well", true),
            ("en", "home", "home", false),
            ("en", "Dr.", "dr", false),
            ("en", "U.S.", "us", false),
            ("en", "J.", "j", false),
            ("en", "I.", "i", true),
            ("en", "3.14", "314", false),
            ("en", "7.", "7", true),
            ("de-AT", "7.", "7", false),
            ("en", "10:30", "1030", false),
            ("es", "¿qué?", "qué", true),
            ("ja", "た。", "た", true),
            ("zh", "好，", "好", true),
            ("ar", "نعم،", "نعم", true),
            ("hi", "है।", "है", true),
        ] {
            assert_eq!(ends_clause(code, text, norm), want, "{code} {text}");
        }
    }

    #[test]
    fn words_of_languages() {
        for (code, word, conjunction, number) in [
            ("en-GB", "and", true, false),
            ("en", "android", false, false),
            ("en", "twenty", false, true),
            ("en", "23", false, true),
            ("de", "dass", true, false),
            ("de", "einundzwanzig", false, true),
            ("de", "zweihundert", false, true),
            ("de", "richtig", false, false),
            ("pt-BR", "mas", true, false),
            ("no", "og", true, false),
            ("uk", "п'ять".replace('\'', "").as_str(), false, true),
            ("ja", "and", false, false),
            ("ja", "5", false, true),
        ] {
            assert_eq!((is_conjunction(code, word), is_number(code, word)), (conjunction, number), "{code} {word}");
        }
    }
}
