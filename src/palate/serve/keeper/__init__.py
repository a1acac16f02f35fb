"""What is believed of each user: the fitted model, personas kept current, corrections, use.

model      the fitted model that is served, and how another takes its place
current    personas brought up to date when they are asked for, and held in memory
held       a persona as it is held, and what is told of it
making     from histories to personas
remaking   personas made anew from whole histories and written down, for jobs
work       the threads: jobs, and what other processes did
words      a persona as people read it
edits      a person's corrections, and a persona with them applied
effect     what corrections change, told on held-back choices
changing   corrections written down, all or none
scores     rank, reward, judge, jury
asking     the pair that teaches most, how settled a persona is
offers     what may be asked of a user
groups     the map of the people
texts      texts of a request as columns
lru        a table of limited size

Nothing here is kept: the store is the only truth, and every answer begins with a look at it.
"""

from palate.serve.keeper.held import Held
from palate.serve.keeper.keeper import Keeper
from palate.serve.keeper.model import Served, Shelf
from palate.serve.keeper.scores import Rewarded, Row

__all__ = ["Held", "Keeper", "Rewarded", "Row", "Served", "Shelf"]
