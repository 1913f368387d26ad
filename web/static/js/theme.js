// Runs before the first paint, so that a chosen theme never flashes the other.
// The console writes the same key when somebody chooses.
try {
  const theme = localStorage.getItem("ashlar-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be forbidden; then the system's wish holds.
}

// What went wrong in scripts, kept where a test and the reader of a report can look.
window.ashlarErrors = [];
for (const name of ["error", "unhandledrejection", "securitypolicyviolation"]) {
  addEventListener(name, (event) => {
    const what = event.error ?? event.reason ?? event.message ?? `${event.violatedDirective} ${event.blockedURI}`;
    if (window.ashlarErrors.length < 50) window.ashlarErrors.push(`${name}: ${what}`);
  });
}
