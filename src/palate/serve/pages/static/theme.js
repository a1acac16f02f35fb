// Before the first paint: the colours the reader chose here, if any; else the system's stand.
try {
  const chosen = localStorage.getItem("palate-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage may be forbidden: the system's colours stand
}
