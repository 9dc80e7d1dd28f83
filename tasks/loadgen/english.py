"""Synthetic English: sentences made by a small grammar from words of ours, for prompts that cost what prose costs.

Words are chosen by rank: the k-th of a class about as often as 1/(k + 2), as in Zipf's law. The text says nothing."""

import random
from functools import lru_cache

SENTENCES = 2048


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FILLERS = _words("""
and then we saw that it was not so for the one who had come from there with him but as you are now
""")

_SINGULAR = _words("""
time year way day man thing world life hand part child eye woman place week case point company number group problem
fact money month book night story water room mother area power house question business government student country
family system school state city community name president team minute idea body information back parent face level
office door health person art war history party result change morning reason research girl guy moment air teacher
force education foot boy age policy process music market sense nation plan college interest death experience effect
class control field development role effort rate heart drug show leader light voice wife police mind price decision
project son view relationship town road arm difference value building action season society tax director position
player record paper space ground form event official matter center couple site activity star table need court harbour
lantern orchard valley merchant carpenter journey machine engine bridge river village library kitchen letter window
garden mountain winter summer treaty archive instrument observer measurement laboratory theory electricity
conversation neighbourhood responsibility architecture temperature philosopher manuscript negotiation inheritance
committee expedition grandmother apprentice thunderstorm lighthouse locomotive photograph quarrel shipyard
""")
_ADJECTIVES = _words("""
new good old great small large long young different important little big high early late national social local public
able bad best better clear common cold dark deep easy fine free full happy hard human likely low major military open
past political poor possible private ready real recent red right serious short similar simple single special strong
sure true various warm white whole wide wrong careful quiet distant narrow patient curious ancient reliable
considerable unfamiliar extraordinary comfortable mechanical independent reluctant magnificent practical stubborn
""")
_PAST = _words("""
said made went took came saw knew got gave found thought told became left felt put brought began kept held wrote stood
heard let meant set met ran paid sat spoke led read grew lost fell sent built understood drew broke spent asked used
worked called tried needed looked wanted followed turned started showed moved lived believed happened included
continued learned changed watched stopped created allowed added opened walked offered remembered considered appeared
bought served expected stayed reached remained suggested raised passed decided returned explained hoped developed
carried received agreed supported described measured examined repaired abandoned negotiated interrupted whispered
""")
_BASE = _words("""
be have do say get make go know take see come think look want give use find tell ask work seem feel try leave call
keep let begin help talk turn start show hear play run move live believe hold bring happen write provide sit stand
lose pay meet include continue set learn change lead understand watch follow stop create speak read allow add spend
grow open walk win offer remember consider appear buy wait serve send expect build stay fall reach remain suggest
raise pass sell require report decide explain measure repair examine negotiate investigate demonstrate accommodate
""")
_ADVERBS = _words("""
now then also here there only just even still back never again too very often always once later soon almost together
away perhaps already yesterday quickly slowly certainly finally carefully probably apparently occasionally
unfortunately immediately deliberately enthusiastically
""")
_NAMES = _words("""
Anna Thomas Clara Henry Maria Robert Eleanor Samuel Ruth Victor Margaret Oliver Edith Benjamin Harriet London Vienna
Geneva Lisbon Edinburgh Copenhagen Montgomery Whitfield Alderman Ashworth
""")
_PREPOSITIONS = _words("""
of in to for with on at from by about into after through over between under without near behind
""")
_CONJUNCTIONS = _words("""
and but because while although when if so as until since
""")
_DETERMINERS = _words("""
the the the a his this that their our her every another some no
""")
_PRONOUNS = _words("""
he it she they we I you nobody someone everyone
""")
_MODALS = _words("""
would could will can should may might must didn't couldn't wouldn't won't
""")


OPENINGS = tuple(f"{word.capitalize()}." for word in dict.fromkeys(_SINGULAR + _ADJECTIVES + _PAST + _ADVERBS))
"""What tells one prompt from the next, as a title would."""


class _Writer:
    """One seeded stream of sentences."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def sentence(self) -> str:
        text = self._clause()
        roll = self._rng.random()
        if roll < 0.30:
            text += f", {self._word(_CONJUNCTIONS)} {self._clause()}"
        elif roll < 0.40:
            text += f"; {self._clause()}"
        elif roll < 0.48:
            text = f"{self._word(_ADVERBS)}, {text}"
        elif roll < 0.53:
            text = f'"{text[0].upper()}{text[1:]}," said {self._word(_NAMES)}'
        return text[0].upper() + text[1:] + self._rng.choices(".?!", (20, 2, 1))[0]

    def _clause(self) -> str:
        subject = self._word(_PRONOUNS) if self._rng.random() < 0.35 else self._noun_phrase()
        verb = f"{self._word(_MODALS)} {self._word(_BASE)}" if self._rng.random() < 0.3 else self._word(_PAST)
        words = [subject, verb]
        if self._rng.random() < 0.7:
            words.append(self._noun_phrase())
        while self._rng.random() < 0.45:
            words.append(f"{self._word(_PREPOSITIONS)} {self._noun_phrase()}")
        if self._rng.random() < 0.2:
            words.append(self._word(_ADVERBS))
        return " ".join(words)

    def _noun_phrase(self) -> str:
        roll = self._rng.random()
        if roll < 0.08:
            return self._word(_NAMES)
        if roll < 0.12:
            return f"{self._rng.choice((2, 3, 5, 12, 40, 150, 1848, 1921))} {self._word(_SINGULAR)}s"
        determiner, noun = self._word(_DETERMINERS), self._word(_SINGULAR)
        if roll < 0.20:
            determiner = f"{self._word(_NAMES)}'s"
        elif roll < 0.45:
            noun = f"{self._word(_ADJECTIVES)} {noun}"
        return f"{'an' if determiner == 'a' and noun[0] in 'aeiou' else determiner} {noun}"

    def _word(self, words: tuple[str, ...]) -> str:
        """By rank: the integral of 1/(k + 2) turned around."""
        rank = (len(words) / 2 + 1) ** self._rng.random() * 2 - 2
        return words[min(int(rank), len(words) - 1)]


@lru_cache(maxsize=8)
def sentences(seed: int) -> tuple[str, ...]:
    """SENTENCES different ones, the same for the same seed."""
    writer, found = _Writer(seed), dict[str, None]()
    while len(found) < SENTENCES:
        found[writer.sentence()] = None
    return tuple(found)
