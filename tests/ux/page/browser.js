// A browser that does what lines of JSON on stdin say: {"do": ..., ...} in, {"ok": ...} or {"error": ...} out, one line each.
"use strict";
const readline = require("node:readline");
const { chromium } = require("playwright-core");

let browser, context, page, seen;

const verbs = {
  async open({ url, width = 1280, height = 900, scheme = "light" }) {
    await context?.close();
    seen = { errors: [], requests: [] };
    context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, locale: "en-GB", timezoneId: "Europe/Berlin", deviceScaleFactor: 1 });
    page = await context.newPage();
    page.on("console", (message) => { if (["error", "warning"].includes(message.type())) seen.errors.push(message.text()); });
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("request", (request) => seen.requests.push(request.url()));
    const began = Date.now();
    await page.goto(url, { waitUntil: "commit" });
    return began;
  },
  async wait({ selector, timeout = 5000 }) { const began = Date.now(); await page.waitForSelector(selector, { timeout, state: "visible" }); return Date.now() - began; },
  async until({ script, timeout = 5000 }) {
    // Not waitForFunction: it evaluates text inside the page, which the page's own policy forbids.
    const began = Date.now();
    while (!(await page.evaluate(script))) {
      if (Date.now() - began > timeout) throw new Error(`not within ${timeout} ms: ${script}`);
      await new Promise((done) => setTimeout(done, 50));
    }
    return Date.now() - began;
  },
  async run({ script }) { return page.evaluate(script); },
  async text({ selector }) { return page.locator(selector).first().innerText(); },
  async fill({ selector, value }) { await page.locator(selector).fill(value); },
  async choose({ selector, value }) { await page.locator(selector).selectOption(value); },
  async click({ selector }) { await page.locator(selector).first().click(); },
  async press({ key }) { await page.keyboard.press(key); },
  async shot({ path, selector, full = false }) { await (selector ? page.locator(selector).first() : page).screenshot({ path, ...(selector ? {} : { fullPage: full }) }); },
  async resize({ width, height }) { await page.setViewportSize({ width, height }); },
  async seen() { return seen; },
  async accessible() { return page.locator("body").ariaSnapshot(); },
};

(async () => {
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: [...args, "--force-color-profile=srgb", "--disable-dev-shm-usage"] });
  process.stdout.write(JSON.stringify({ ok: browser.version() }) + "\n");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: verb, ...rest } = JSON.parse(line);
    try {
      process.stdout.write(JSON.stringify({ ok: (await verbs[verb](rest)) ?? null }) + "\n");
    } catch (error) {
      process.stdout.write(JSON.stringify({ error: String(error).slice(0, 2000) }) + "\n");
    }
  }
  await browser.close();
})();
