// There is nothing at this address.

import { add, h, state } from "./dom.js";
import { start } from "./shell.js";

start((main) => add(main, state("There is no such page", "The address may be mistyped, or the page may have moved.", { actions: [h("a", { class: "button first", href: "/" }, "To the start")] })));
