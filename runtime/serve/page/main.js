/** Starts the page. */

import { App } from "./app.js";
import { showFault } from "./status.js";

export const app = new App();
app.start();
if (!window.isSecureContext) {
  showFault({
    message: "This address is not secure, so the browser gives the page no microphone, camera and sound.",
    fix: `Typing and reading work. To talk, open it as http://localhost:${location.port || 80} (from another device: ssh -L), or through a proxy with https.`,
  });
}
