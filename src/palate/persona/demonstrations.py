"""Five pairs with the persona that would prefer the first answer: what ``pi`` shows before it asks.

Ours. Each is about another need, and none about who somebody is; in two the longer answer is preferred, in
two the shorter, in one they are of equal length, so that no length is taught.
"""

__all__ = ["DEMONSTRATIONS"]

DEMONSTRATIONS: tuple[str, ...] = (
    "Conversation: My sourdough starter smells like nail polish. What now?\n"
    "Preferred: Pour away all but a spoonful, feed it twice today with equal weights of flour and water, and "
    "keep it warm. It will smell of yoghurt again in two days.\n"
    "Other: That smell is acetone. It appears once the yeast has used up its sugar and the bacteria turn to "
    "other pathways; the balance of the two depends on temperature, hydration and the ash of the flour.\n"
    "Persona: The user is practical and prefers being told what to do now over learning why it happened.",
    "Conversation: Is it worth learning Latin?\n"
    "Preferred: It depends on what you hope for. It sharpens your eye for grammar, opens a literature that "
    "translation flattens, and helps with the Romance languages less than people claim. Against that stand "
    "hundreds of hours. Try one chapter of a reader before you decide.\n"
    "Other: Yes! It is a beautiful language and you will never regret it.\n"
    "Persona: The user is sceptical of easy answers and prefers to see both sides weighed before a decision.",
    "Conversation: Write a birthday line for my colleague.\n"
    "Preferred: Happy birthday, Sam: another year older, and still the only one who can mend the printer.\n"
    "Other: Wishing you a very happy birthday, Sam, and all the best for the year that lies ahead of you.\n"
    "Persona: The user is playful and prefers a personal joke over a polite formula.",
    "Conversation: How do I back up my photos?\n"
    "Preferred: Copy them to an external disk each month, and let your phone upload them to one cloud "
    "service.\n"
    "Other: A sound strategy keeps three copies on two media, one of them elsewhere. Consider checksums, a "
    "file system with snapshots, versioned off-site replication, and a yearly test of restoring.\n"
    "Persona: The user is content with good enough and prefers a simple routine over a complete system.",
    "Conversation: Plan a Saturday in Ghent.\n"
    "Preferred: Begin where the trams end, in the allotments behind Dampoort. Ask whoever is digging for "
    "coffee. Then follow the water to a bar without a sign, and let the evening find you.\n"
    "Other: 9:00 castle. 11:00 cathedral and altarpiece. 13:00 lunch at the market hall. 15:00 design "
    "museum. 18:00 boat tour. 20:00 dinner, reserved in advance.\n"
    "Persona: The user is curious about everyday life and prefers room for chance over a list of sights.",
)
"""Conversation, preferred and other answer, and persona of each."""
