"""A process that adds choices and prints each key once it is acknowledged; arguments: URL MOST NAME ..."""

import os
import sys
import threading

from palate.serve.store import Store, choices
from palate.serve.store.choices import Kept

THREADS = 4


def body(n):
    return {"conversation": [], "responses": ["a", "b"], "chosen": n % 2}


def write(url, most, name):
    store = Store.open(url)

    def work(thread):
        for n in range(most):
            key = f"{name}-{thread}-{n}"
            rows = [Kept("ann", key, body(n))]
            store.write(lambda c, rows=rows: choices.add(c, "t", rows))
            os.write(1, f"{key}\n".encode())  # one call, so that lines of threads do not mix

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()


if __name__ == "__main__":
    url, most, *names = sys.argv[1:]
    children = []
    for name in names[1:]:  # nothing is open yet, so that a fork is a process like any other
        children.append(os.fork())
        if not children[-1]:
            write(url, int(most), name)
            os._exit(0)
    write(url, int(most), names[0])
    sys.exit(max((os.waitpid(child, 0)[1] for child in children), default=0))
