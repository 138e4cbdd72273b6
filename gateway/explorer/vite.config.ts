import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

export default defineConfig({
  base: "/graphql/",
  publicDir: false,
  plugins: [monacoNotices()],
  build: {
    outDir: "../http/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "THIRD-PARTY-LICENSES.txt" },
    reportCompressedSize: false,
    // Monaco, the editor, is 3 MB by itself.
    chunkSizeWarningLimit: 4000,
    rolldownOptions: {
      // GraphiQL makes the accessible names of its icons out of function names.
      output: { keepNames: true },
      // "use client" concerns servers that render React; there is none.
      checks: { moduleLevelDirective: false },
    },
  },
});

/** Monaco holds code of others inside its own package, where `build.license` does not look. */
function monacoNotices(): Plugin {
  return {
    name: "monaco-notices",
    generateBundle() {
      const notices = new URL("node_modules/monaco-editor/ThirdPartyNotices.txt", import.meta.url);
      this.emitFile({
        type: "asset",
        fileName: "THIRD-PARTY-LICENSES-MONACO.txt",
        source: readFileSync(notices, "utf8"),
      });
    },
  };
}
