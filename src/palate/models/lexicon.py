"""The English word lists behind the style features. Phrases have two words, with ``|`` between them."""

__all__ = ["PHRASES", "WORDS"]

WORDS = {
    "formal": """therefore thus hence moreover furthermore consequently nevertheless nonetheless accordingly
        regarding concerning whereas whereby hereby upon shall additionally subsequently notwithstanding
        respectively albeit thereby herein aforementioned commence utilize facilitate endeavor pursuant
        henceforth likewise individuals numerous sufficient require requires obtain provide""",
    "casual": """don't doesn't didn't can't couldn't won't wouldn't shouldn't isn't aren't wasn't weren't
        haven't hasn't hadn't ain't i'm i've i'll i'd you're you've you'll you'd he's she's it's we're
        we've we'll we'd they're they've they'll they'd that's there's what's who's here's let's how's
        where's y'all gonna wanna gotta kinda sorta dunno lemme gimme yeah yep yup nope nah ok okay lol
        lmao omg wtf btw tbh imo imho idk hey hi dude guys guy stuff cool awesome crap damn sucks stupid
        dumb huh u ur thx pls plz cuz cause cos wow ya haha hahaha dont cant wont""",
    "hedge": """maybe perhaps possibly probably might may could seems seem seemed appears appear apparently
        somewhat fairly rather roughly approximately around generally usually often sometimes typically
        likely unlikely suggest suggests presumably arguably relatively mostly largely potentially
        believe guess suppose assume unsure uncertain depends depending""",
    "warm": """hi hello hey thanks thank welcome glad happy please sorry congratulations congrats wonderful
        great lovely amazing awesome dear friend friends feel feeling feelings hope love care caring
        proud understand understandable support supportive together appreciate kind kindness you your
        you're you've you'll yourself best gentle enjoy wish wishing excited""",
    "direct": """must should need needs will always never definitely certainly clearly absolutely obviously
        undoubtedly ensure avoid stop start make use do add remove try check go get keep take put choose
        follow create write open click run set select buy build fix ban require now immediately simply
        just never ever ought""",
    "technical": """algorithm function parameter variable api database server protocol hypothesis coefficient
        molecule enzyme variance regression tensor matrix vector gradient kernel compiler thread latency
        bandwidth cpu gpu python javascript sql html json def class int str null array boolean return
        import theorem equation derivative integral voltage isotope genome protein statute liability
        amortization equity dosage mg""",
    "example": """e.g eg instance example examples namely specifically including illustrate illustrates
        illustration imagine consider like called named""",
    "first": """i me my mine myself we us our ours ourselves i'm i've i'll i'd we're we've we'll we'd im
        ive""",
    "caution": """not no never none nothing nobody neither nor cannot without don't doesn't didn't can't
        couldn't won't wouldn't shouldn't isn't aren't wasn't weren't haven't hasn't hadn't dont cant
        wont avoid beware careful carefully caution cautious warning risk risks risky danger dangerous
        harm harmful unsafe unfortunately however although but""",
}
PHRASES = {
    "formal": "in order|due to|with respect|in accordance|prior to|as such|in addition",
    "casual": "kind of|sort of|a lot|lots of|no way|my bad|you know",
    "hedge": "i think|in general|it seems|kind of|sort of|not sure|to some|in part",
    "warm": "thank you|well done|good luck|great question|of course|take care"
    "|no worries|good job|for you|here for",
    "direct": "need to|have to|has to|make sure|of course|no doubt|you should|be sure|right now",
    "example": "for example|for instance|such as|case in|e g",
    "technical": "machine learning|standard deviation|operating system|neural network|data structure",
    "first": "in my|i think|i believe|of mine",
    "caution": "be careful|watch out|side effects|do not|does not|should not|must not|is not",
}
