// Shows the lab's document and follows its changes. It decides nothing about the lab: what a state means, the document
// says. Text from the lab only ever becomes text.
"use strict";

const DENSE_FROM = 40; // machines
const MARKED_MILLISECONDS = 2000;
const RETRY_MILLISECONDS = 2000;

let lab = null; // the document as it is now
let lastHeard = null;

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawn(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// MergePatch of RFC 7396.
function merged(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result = target !== null && typeof target === "object" && !Array.isArray(target) ? target : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}

// Words

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function time(moment) {
  const date = new Date(typeof moment === "number" ? moment * 1000 : moment);
  return element("time", { datetime: date.toISOString() }, clock.format(date));
}

const gibibytes = (mebibytes) => `${+(mebibytes / 1024).toFixed(1)} GiB`;
const counted = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function size(bytes) {
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

const MOODS = { well: "All is well", busy: "In progress", trouble: "Something is wrong", gone: "The lab is silent" };

const STAGES = {
  firmware: "starts",
  booting: "boots",
  installing: "installs Talos",
  maintenance: "waits for its configuration",
  rebooting: "reboots",
  "shutting down": "shuts down",
  resetting: "is being reset",
  upgrading: "upgrades Talos",
};

// How a machine is: [mood, sign, words].
function condition(vm) {
  if (vm.template) return ["none", "▢", "template"];
  if (vm.power === "off") return ["none", "○", "off"];
  if (vm.foreign) return ["none", "●", "on, somebody else's"];
  if (vm.cut_off) return ["trouble", "!", `off the network, ${vm.stage}`];
  if (vm.stage === "running") return vm.ready ? ["well", "✓", "ready"] : ["trouble", "!", "not ready"];
  return ["busy", "…", STAGES[vm.stage] || vm.stage];
}

// Hosts and machines

function renderHosts() {
  const hosts = byId("hosts");
  document.body.classList.toggle("dense", Object.keys(lab.vms).length >= DENSE_FROM);
  for (const room of [...hosts.children]) if (!(room.dataset.host in lab.hosts)) room.remove();
  for (const [name, host] of Object.entries(lab.hosts)) {
    let room = hosts.querySelector(`[data-host="${CSS.escape(name)}"]`);
    if (!room) {
      room = element("section", { class: "host", "data-host": name, "aria-label": `Host ${name}` },
        element("h3", {}, name), element("p", { class: "about" }), element("div", { class: "cards" }));
      hosts.append(room);
    }
    const there = Object.values(lab.vms).filter((vm) => vm.host === name);
    const given = there.filter((vm) => vm.power === "on").reduce((sum, vm) => sum + vm.cpus, 0);
    const about = room.querySelector(".about");
    about.classList.toggle("cut", host.cut_off);
    about.textContent = host.cut_off ? "! its VMs are off every network"
      : `${counted(there.length, "VM", "VMs")} · ${given} of ${host.cpus} CPUs in use · ${gibibytes(host.memory_mib)}`;
    const cards = room.querySelector(".cards");
    cards.querySelector(".none")?.remove();
    if (there.length === 0) cards.append(element("p", { class: "none" }, "No VMs."));
  }
}

function renderCard(id, mark) {
  const vm = lab.vms[id];
  const present = byId(`vm-${id}`);
  if (!vm) {
    present?.remove();
    return;
  }
  const cards = byId("hosts").querySelector(`[data-host="${CSS.escape(vm.host)}"] .cards`);
  const card = present || element("details", { class: "card", id: `vm-${id}`, open: !document.body.classList.contains("dense") });
  const [mood, sign, words] = condition(vm);
  card.dataset.mood = mood;
  card.dataset.power = vm.power;
  card.replaceChildren(
    element("summary", {},
      element("h4", {}, vm.name),
      element("span", { class: "id" }, String(vm.id)),
      element("span", { class: "state", "data-mark": sign }, element("span", { class: "words" }, words)),
      vm.task ? element("span", { class: "asked" }, `⟳ is being ${vm.task.words} (${vm.task.type})`) : null),
    facts(vm));
  if (card.parentElement !== cards) {
    const next = [...cards.children].find((other) => Number(other.id?.slice(3)) > vm.id);
    cards.insertBefore(card, next || null);
  }
  if (mark) {
    card.classList.add("changed");
    clearTimeout(card.unmark);
    card.unmark = setTimeout(() => card.classList.remove("changed"), MARKED_MILLISECONDS);
  }
}

function facts(vm) {
  const list = element("dl");
  const fact = (name, value) => list.append(element("dt", {}, name), element("dd", {}, value));
  const waits = (vm.unmet || []).map((unmet) => `${unmet.name}: ${unmet.reason}`);
  if (waits.length) fact("waits for", waits.join("; "));
  if (vm.cut_nics.length) fact("cut off", vm.cut_nics.join(", "));
  const inside = vm.power === "on" && !vm.foreign;
  if (inside && vm.stage !== "firmware") {
    fact("Talos", vm.installed ? vm.talos : `${vm.talos}, not installed`);
    fact("role", vm.role || "none yet");
    const addresses = vm.addresses.map((one) => one.address.replace(/\/\d+$/, "") + (one.virtual ? " (virtual)" : ""));
    fact("address", addresses.join(", ") || "none yet");
    if (vm.hostname && vm.hostname !== vm.name) fact("hostname", vm.hostname);
    fact("services", services(vm.services));
    if (!document.body.classList.contains("dense")) fact("schematic", `${vm.schematic.slice(0, 12)}…`);
  }
  fact("size", `${counted(vm.cpus, "CPU", "CPUs")}, ${gibibytes(vm.memory_mib)}`);
  if (vm.pool) fact("pool", vm.pool);
  return list;
}

function services(all) {
  const ill = all.filter((one) => one.state !== "Running" || one.healthy === false);
  if (all.length === 0) return "none yet";
  if (ill.length === 0) return `all ${all.length} run`;
  return ill.map((one) => `${one.name} ${one.state === "Running" ? "not healthy" : one.state.toLowerCase()}`).join(", ");
}

// etcd

function renderEtcd() {
  const clusters = Object.values(lab.etcd);
  const panels = clusters.map((cluster) => {
    const members = Object.values(cluster.members).sort((one, other) => one.name.localeCompare(other.name));
    const summary = `${cluster.up} of ${counted(cluster.voters, "member", "members")} ${cluster.up === 1 ? "is" : "are"} up: ` +
      (cluster.quorum ? "there is a quorum" : "the quorum is lost");
    return element("div", { class: "panel" },
      element("h3", {}, cluster.name),
      element("p", { class: cluster.quorum ? "quorum" : "quorum lost" }, summary),
      ring(members, `etcd of ${cluster.name}: ${summary}`),
      memberTable(members));
  });
  byId("etcd").replaceChildren(...(panels.length ? panels : [nothing("No member of etcd answers.")]));
}

const stateOf = (member) => (member.state === "up" ? (member.leader ? "leader" : member.learner ? "learner" : "follower") : member.state);

const VIEWS = { 1: "0 65 320 85", 2: "0 65 320 85", 3: "0 0 320 170" }; // by the number of members

const nameOf = (member) => member.name || "a new member";

// How a member is drawn: [class, sign].
function look(member) {
  if (member.state === "joining" || (member.state === "up" && member.learner)) return ["learner", "…"];
  if (member.state === "up") return member.leader ? ["up leads", "★"] : ["up", "✓"];
  return ["lost", member.state === "down" ? "×" : "!"];
}

function ring(members, label) {
  const picture = drawn("svg", { class: "ring", viewBox: VIEWS[members.length] || "0 0 320 195", role: "img", "aria-label": label });
  const place = members.map((_, index) => {
    if (members.length === 1) return [160, 95];
    const first = members.length === 2 ? Math.PI : -Math.PI / 2; // two are side by side
    const angle = (2 * Math.PI * index) / members.length + first;
    return [160 + 105 * Math.cos(angle), 97 + 45 * Math.sin(angle)];
  });
  members.forEach((one, first) => members.forEach((other, second) => {
    if (first < second && one.state === "up" && other.state === "up") {
      const [x1, y1] = place[first];
      const [x2, y2] = place[second];
      picture.append(drawn("line", { class: "link", x1, y1, x2, y2 }));
    }
  }));
  members.forEach((member, index) => {
    const [x, y] = place[index];
    const [state, sign] = look(member);
    const group = drawn("g", { class: state, transform: `translate(${x} ${y})` });
    const above = y < 80; // where no line comes from
    group.append(drawn("circle", { r: 17 }), drawn("text", { class: "sign", y: 5 }, sign),
      drawn("text", { y: above ? -36 : 31 }, nameOf(member)),
      drawn("text", { class: "note", y: above ? -24 : 43 }, stateOf(member)));
    picture.append(group);
  });
  return picture;
}

function memberTable(members) {
  const rows = members.map((member) => element("tr", {},
    element("th", { scope: "row" }, nameOf(member)),
    element("td", {}, element("span", { class: { up: "good", joining: "" }[member.state] ?? "bad" }, stateOf(member)),
      ...member.errors.map((error) => element("div", { class: "quiet" }, error))),
    element("td", { class: "number" }, member.database_bytes === undefined ? "not known" : size(member.database_bytes))));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...["Member", "State"].map((name) => element("th", { scope: "col" }, name)),
      element("th", { scope: "col", class: "number" }, "Database"))),
    element("tbody", {}, ...rows));
}

// Kubernetes and faults

function renderKubernetes() {
  const nodes = Object.values(lab.kubernetes).sort((one, other) => one.node.localeCompare(other.node));
  if (nodes.length === 0) {
    byId("kubernetes").replaceChildren(nothing("No Kubernetes in this lab."));
    return;
  }
  const known = (value) => (value === undefined ? element("span", { class: "quiet" }, "not known") : String(value));
  const rows = nodes.map((node) => element("tr", {},
    element("th", { scope: "row" }, node.node),
    element("td", {}, element("span", { class: node.ready ? "good" : "bad" }, node.ready ? "Ready" : "NotReady"),
      node.unschedulable ? element("div", {}, "cordoned") : null),
    element("td", {}, known(node.version)),
    element("td", {}, known(node.taints?.join(", ") || (node.taints && "none"))),
    element("td", { class: "number" }, known(node.pods))));
  byId("kubernetes").replaceChildren(element("div", { class: "panel" }, element("table", {},
    element("thead", {}, element("tr", {}, ...["Node", "State", "Version", "Taints", "Pods"].map((name) =>
      element("th", { scope: "col", class: name === "Pods" && "number" }, name)))),
    element("tbody", {}, ...rows))));
}

const nothing = (text) => element("p", { class: "panel quiet" }, text);

function renderFaults() {
  byId("faults-section").hidden = lab.faults.length === 0;
  byId("faults").replaceChildren(...lab.faults.map((text) => element("li", {}, text)));
}

// Requests, tasks, events: the newest first. Rows are made once, and again only when what they say changed.

function renderRows(body, entries, changed, row) {
  for (const id of changed) {
    const present = body.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (!(id in entries)) present?.remove();
    else {
      const made = row(entries[id]);
      made.dataset.id = id;
      if (present) present.replaceWith(made);
      else body.prepend(made);
    }
  }
  const table = body.closest("table");
  table.hidden = body.children.length === 0;
  table.nextElementSibling.hidden = !table.hidden;
}

function requestRow(request) {
  const failed = request.status >= 400;
  return element("tr", {},
    element("td", {}, time(request.time)),
    element("td", {}, element("code", {}, element("span", { class: "method" }, request.method), ` ${request.path}`),
      request.message ? element("div", { class: "quiet" }, request.message) : null),
    element("td", { class: "short" }, element("span", { class: failed ? "bad" : "" }, String(request.status))),
    element("td", { class: "number" }, `${Math.max(1, Math.round(request.seconds * 1000))} ms`));
}

function taskRow(task) {
  const end = task.status === undefined ? element("span", {}, "… runs")
    : task.status === "OK" ? element("span", { class: "good" }, "OK") : element("span", { class: "bad" }, task.status);
  return element("tr", {},
    element("td", {}, time(task.started)),
    element("td", {}, element("code", {}, task.type), task.id ? ` ${task.id}` : ""),
    element("td", {}, task.host),
    element("td", {}, end));
}

function eventRow(event) {
  return element("tr", {},
    element("td", {}, time(event.time)),
    element("td", { class: "machine" }, event.machine),
    element("td", {}, event.text));
}

function shownRequests() {
  const all = byId("reads").checked;
  return Object.fromEntries(Object.entries(lab.requests).filter(([, request]) => all || request.method !== "GET"));
}

// By number where ids are numbers; tasks by their beginning; events have ids in the order of time.
const inOrder = {
  requests: (ids) => ids.sort((one, other) => one - other),
  tasks: (ids) => ids.sort((one, other) => (lab.tasks[one]?.started || 0) - (lab.tasks[other]?.started || 0)),
  events: (ids) => ids.sort(),
};

// The whole

function renderHeadline() {
  const { mood, text, more } = lab.headline;
  byId("headline").dataset.mood = mood;
  setText("mood", MOODS[mood]);
  setText("sentence", text);
  byId("more").replaceChildren(...more.map((sentence) => element("li", {}, sentence)));
  const sign = { well: "✓", busy: "…", trouble: "!" }[mood];
  document.title = `${sign} ${text} Lab ${lab.lab.cluster}`;
}

// A live region speaks when its text is set: only what differs is set.
function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

// `patch` says what changed; without one everything did.
function render(patch) {
  const whole = patch === null;
  const part = (name) => whole || name in patch;
  const changed = (name) => Object.keys(whole ? lab[name] : patch[name] || {});
  if (part("lab")) {
    setText("lab-name", lab.lab.cluster);
    setText("lab-about", `Proxmox VE ${lab.lab.proxmox} at ${lab.lab.address}, simulated`);
  }
  if (part("headline")) renderHeadline();
  if (part("hosts") || part("vms")) {
    renderHosts();
    changed("vms").forEach((id) => renderCard(id, !whole));
  }
  if (part("etcd")) renderEtcd();
  if (part("kubernetes")) renderKubernetes();
  if (part("faults")) renderFaults();
  if (part("requests")) renderRows(byId("requests"), shownRequests(), inOrder.requests(changed("requests")), requestRow);
  if (part("tasks")) renderRows(byId("tasks"), lab.tasks, inOrder.tasks(changed("tasks")), taskRow);
  if (part("events")) renderRows(byId("events"), lab.events, inOrder.events(changed("events")), eventRow);
}

function startOver() {
  for (const id of ["hosts", "requests", "tasks", "events"]) byId(id).replaceChildren();
  render(null);
}

function live() {
  document.body.classList.remove("stale");
  byId("main").setAttribute("aria-busy", "false");
  byId("connection").dataset.state = "live";
  setText("connection", "live");
  lastHeard = new Date();
}

function gone() {
  document.body.classList.add("stale");
  byId("connection").dataset.state = "gone";
  setText("connection", "not connected");
  byId("headline").dataset.mood = "gone";
  setText("mood", MOODS.gone);
  setText("sentence", "The lab does not answer: it is stopped.");
  const last = lastHeard ? `Below is what was last known, at ${clock.format(lastHeard)}. ` : "";
  byId("more").replaceChildren(element("li", {}, `${last}The page goes on by itself once a lab starts at this address.`));
  document.title = "× The lab does not answer";
}

function follow() {
  const stream = new EventSource("/events");
  stream.addEventListener("document", (event) => {
    lab = JSON.parse(event.data);
    live();
    startOver();
  });
  stream.addEventListener("patch", (event) => {
    const patch = JSON.parse(event.data);
    lab = merged(lab, patch);
    live();
    render(patch);
  });
  stream.addEventListener("error", () => {
    gone();
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, RETRY_MILLISECONDS);
  });
}

byId("reads").addEventListener("change", () => {
  if (lab === null) return;
  byId("requests").replaceChildren();
  const shown = shownRequests();
  renderRows(byId("requests"), shown, inOrder.requests(Object.keys(shown)), requestRow);
});

follow();
