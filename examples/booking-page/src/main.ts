import { BookingPage } from "./booking-page";

new BookingPage().start();
