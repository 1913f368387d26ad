// Starts the console. The names of the two files are read from the page, where
// the build has put the names that carry their hashes.
const glue = document.getElementById("console-glue").href;
const program = document.getElementById("console-program").href;

try {
  const { default: start } = await import(glue);
  await start({ module_or_path: program });
} catch (error) {
  console.error(error);
  const words = document.getElementById("splash-words");
  if (words) {
    words.textContent =
      typeof WebAssembly === "object"
        ? "The console could not be loaded. Check the connection to the appliance, then load this page again."
        : "This browser can not run the console. Use a current Firefox, Chrome, Edge or Safari.";
  }
}
