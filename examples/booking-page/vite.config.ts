import { defineConfig, loadEnv } from "vite";

export default defineConfig(({ mode }) => {
  const gateway = new URL(loadEnv(mode, import.meta.dirname)["VITE_GATEWAY_URL"] ?? "");
  return {
    base: "./",
    publicDir: false,
    build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false },
    server: { host: "127.0.0.1" },
    preview: {
      host: "127.0.0.1",
      strictPort: true,
      // As a server of the page would send it: nothing inline, nobody asked but the gateway, and no form's fields in an
      // address.
      headers: {
        "content-security-policy": `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'none'; connect-src ${gateway.origin}`,
      },
    },
  };
});
