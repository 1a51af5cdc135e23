/** A match in which nothing is asked, to build others from. By itself it never holds. */
import type { L4Match } from "../model/rule.ts";

export const EMPTY_MATCH: L4Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};
